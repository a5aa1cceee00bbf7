# SPDX-License-Identifier: BSD-2-Clause
"""The autoscaler on recorded and invented loads, beside the Kubernetes HPA's formula and uWSGI's cheaper_busyness:
seconds above the threshold, worker-seconds, changes. Nothing is measured, so it takes seconds."""
import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import bench_common as bench

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRACES = ROOT / "tests/scaling"
NAMES = ("step", "ramp", "daily", "flash", "sawtooth", "noise")
COLUMNS = {"seconds_above_threshold": "s above", "worker_seconds": "worker-s", "change_count": "changes"}
POLICIES = ("muster", "hpa", "busyness")
# A tie: worker-seconds within one percent, the other two exactly.
SLACK = {"seconds_above_threshold": 1, "worker_seconds": 1.01, "change_count": 1}


def musterctl():
    return pathlib.Path(os.environ.get("MUSTER_BIN_DIR", ROOT / "build/bin")) / "musterctl"


def replay(path):
    output = subprocess.run([musterctl(), "scaling", "replay", path, "--json"], stdout=subprocess.PIPE,
                            check=True).stdout
    return json.loads(output)["policies"]


def is_best(policies, column):
    mine, *others = (policies[name][column] for name in POLICIES)
    return mine <= min(others) * SLACK[column]


def cell(policies, column):
    mine, *others = (f"{policies[name][column]:.0f}" for name in POLICIES)
    return " / ".join([mine + ("*" if is_best(policies, column) else ""), *others])


def shipped():
    """The traces of tests/scaling: for each column on how many Muster is best or tied."""
    results = {name: replay(TRACES / f"{name}.trace") for name in NAMES}
    bench.table(f"the traces of tests/scaling: {' / '.join(POLICIES)}; * Muster is best, or tied",
                ["", *COLUMNS.values()],
                [[name, *(cell(results[name], column) for column in COLUMNS)] for name in NAMES])
    score = {column: sum(is_best(policies, column) for policies in results.values()) for column in COLUMNS}
    print("  best or tied: " + ", ".join(f"{COLUMNS[column]} {count} of {len(NAMES)}"
                                         for column, count in score.items()))
    return score


def other_seeds(count):
    """The defaults were chosen on the traces of tests/scaling; this is how they do on others of the same kind."""
    sys.path.insert(0, str(TRACES))
    import generate
    wins = {name: dict.fromkeys(COLUMNS, 0) for name in NAMES}
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as directory:
        path = pathlib.Path(directory) / "other.trace"
        for seed in range(count):
            for make in generate.TRACES:
                path.write_text(generate.text_of(make, random.Random(seed)))
                policies = replay(path)
                for column in COLUMNS:
                    wins[make.__name__][column] += is_best(policies, column)
    bench.table(f"the same with {count} other seeds: how often Muster is best or tied", ["", *COLUMNS.values()],
                [[name, *(f"{wins[name][column]}/{count}" for column in COLUMNS)] for name in NAMES])


def check():
    """For ctest: the traces are what the generator makes, and Muster's aim is reached."""
    subprocess.run([sys.executable, "-B", TRACES / "generate.py", "--check"], check=True)
    score = shipped()
    if min(score.values()) < len(NAMES) - 1:
        sys.exit(f"best or tied on fewer than {len(NAMES) - 1} of {len(NAMES)} traces")


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench scaling", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="other seeds to try (default: %(default)s; 0: none)")
    parser.add_argument("--check", action="store_true", help="the short version, for ctest")
    options = parser.parse_args()
    if options.check:
        check()
        return
    shipped()
    if options.seeds > 0:
        other_seeds(options.seeds)


if __name__ == "__main__":
    main()
