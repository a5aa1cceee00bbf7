# SPDX-License-Identifier: BSD-2-Clause
"""musterctl scaling replay: what it prints, what it refuses. It needs no cluster."""
import json
import os
import subprocess

import pytest
from harness import MUSTERCTL, PATIENCE, ROOT

OK, FAILED, USAGE = 0, 1, 2
TRACES = ROOT / "tests/scaling"


def replay(path, *options):
    return subprocess.run([str(MUSTERCTL), *options, "scaling", "replay", str(path)], capture_output=True,
                          text=True, env={"PATH": os.environ["PATH"]}, timeout=60 * PATIENCE, check=False)


def policies_of(tmp_path, text):
    path = tmp_path / "load.trace"
    path.write_text(text)
    result = replay(path, "--json")
    assert result.returncode == OK, result.stderr
    return json.loads(result.stdout)["policies"]


def test_for_people():
    result = replay(TRACES / "step.trace")
    assert result.returncode == OK and result.stderr == ""
    for words in ("S ABOVE 80%", "WORKER-S", "muster", "hpa", "busyness", "the accept queue fills",
                  "stabilisation made it", "0:10:"):
        assert words in result.stdout, words


def test_for_programs():
    result = replay(TRACES / "ramp.trace", "--json")
    document = json.loads(result.stdout)
    assert document["seconds"] == 4800 and document["min_workers"] == 2
    for name, policy in document["policies"].items():
        workers = [count for _, count in policy["workers"]]
        assert workers[0] == 2 and 2 <= min(workers) and max(workers) == policy["most_workers"] <= 32
        assert len(workers) == policy["change_count"] + 1 == len(policy["changes"]) + 1
        seconds = [second for second, _ in policy["workers"]] + [document["seconds"]]
        # What is decided in one second holds from the next one on.
        assert policy["worker_seconds"] == sum(
            count * (until - since) for count, since, until in zip(workers, seconds, seconds[1:])), name
    assert all(change["text"] for change in document["policies"]["muster"]["changes"])


def test_load_that_fits_changes_nothing(tmp_path):
    for policy in policies_of(tmp_path, "workers 4 8\n1.6 x 600\n").values():
        assert policy["change_count"] == 0 and policy["seconds_above_threshold"] == 0
        assert policy["worker_seconds"] == 2400


def test_the_two_others_follow_their_formulas(tmp_path):
    policies = policies_of(tmp_path, "workers 4 32\n1.6 x 600\n3.6 x 1200\n1.6 x 1200\n")
    # 4 workers at 90 %, target 60 %: ceil(4 * 1.5); back once the most of the last 300 s allows it.
    # (4 at 40 %: ceil(4 * 0.67) = 3, but the least is 4.)
    assert [to for _, to in policies["hpa"]["workers"]] == [4, 6, 4]
    times = [second for second, _ in policies["hpa"]["workers"]]
    assert times[1] == 615 and 2100 <= times[2] <= 2130
    # Above 50 % one more each cycle of 10 s: 8 workers at 45 % are enough. Then 20 % is idle: one
    # fewer after ten cycles, twice, until it is 25 % or more.
    assert [to for _, to in policies["busyness"]["workers"]] == [4, 5, 6, 7, 8, 7, 6]
    times = [second for second, _ in policies["busyness"]["workers"]]
    assert times[1:5] == [610, 620, 630, 640] and times[6] - times[5] == 100


def test_missing_data_takes_no_worker_away(tmp_path):
    policies = policies_of(tmp_path, "workers 2 8\n4 x 600\n-\n1 x 10\n- x 900\n")
    assert policies["muster"]["workers"][-1][0] < 600


@pytest.mark.parametrize("text, says", [
    ("", "has no load"), ("workers 2\n1\n", ":1: workers needs two numbers"),
    ("workers 8 2\n1\n", ":1: workers: 8 is more than 2"), ("1\nstep 1s\n", ":2: step must stand before"),
    ("step 1\n1\n", 'step "1" has no unit'), ("step 1500ms\n1\n", "whole seconds"),
    ("threshold 0\n1\n", "above 0"), ("threshold 101\n1\n", "at most 100"), ("fast\n", 'not a|"fast" is neither'),
    ("-1\n", '"-1" is neither'), ("1e3\n", "neither"), ("nan\n", "neither"), ("1 x\n", "a load is"),
    ("1 x 0\n", '"0" is no number of steps'), ("1 x 9999999\n", "steps"), ("1 x 2 3 4\n", "too much"),
    ("step 24h\n1 x 32\n", "longer than 31 days"), ("queue 0\n1\n", "queue must be 1 to")])
def test_what_is_wrong_is_said(tmp_path, text, says):
    path = tmp_path / "bad.trace"
    path.write_text(text)
    result = replay(path)
    assert result.returncode == FAILED and result.stdout == ""
    assert any(words in result.stderr for words in says.split("|")), result.stderr


def test_no_such_file(tmp_path):
    result = replay(tmp_path / "none.trace")
    assert result.returncode == FAILED and "No such file" in result.stderr
    result = replay(tmp_path)
    assert result.returncode == FAILED and result.stdout == ""


@pytest.mark.parametrize("words, says", [
    (["scaling"], "scaling needs replay FILE"), (["scaling", "replay"], "scaling needs replay FILE"),
    (["scaling", "play", "x"], 'not "play"'), (["scaling", "replay", "a", "b"], 'does not take "b"')])
def test_wrong_usage(words, says):
    result = subprocess.run([str(MUSTERCTL), *words], capture_output=True, text=True, check=False,
                            timeout=10 * PATIENCE)
    assert result.returncode == USAGE and says in result.stderr
