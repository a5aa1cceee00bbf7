# SPDX-License-Identifier: BSD-2-Clause
"""The life of workers: dying, crash loops, starting, scaling, reloading, logs."""
import contextlib
import json
import os
import pathlib
import re
import signal

import fake_worker
import harness
import pytest


def obituaries(cluster, slot=0):
    answer = cluster.management("GET", f"/cluster/workers/{slot}", over_socket=True)
    return answer.json["obituaries"]


def shell_worker(cluster, body, name="worker.sh"):
    path = cluster.dir / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def descendants_cpu(pid):
    """Processor time of a process and of its children that have ended."""
    fields = harness.process_stat(pid)
    return sum(int(fields[n]) for n in (11, 12, 13, 14)) / os.sysconf("SC_CLK_TCK")


# ---- dying ----

@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_dies_is_replaced_and_remembered(cluster, sig):
    cluster.allowed.append("Sanitizer")  # a SIGSEGV is reported by it
    pid = cluster.kill_worker(0, sig)
    cluster.wait_replaced(0, pid)
    assert cluster.get("/hello").status == 200
    last = obituaries(cluster)[0]
    assert last["pid"] == pid and last["was_ready"] and last["reason"] in ("crash", "exit")
    if not harness.SANITIZE or sig == signal.SIGKILL:
        assert last["signal"] == sig and sig.name in last["cause"]
    assert cluster.workers()[0]["restarts"] == 1
    assert cluster.workers()[1]["restarts"] == 0
    assert cluster.log_lines(str(pid))


def test_what_a_dead_worker_counted_stays(cluster):
    for _ in range(40):
        assert cluster.get("/hello").status == 200

    def total():
        return cluster.metrics()["muster_http_requests_answered_total"]
    harness.wait_until(lambda: total() == 40, 5, lambda: f"40 requests counted, not {total()}")
    for slot in (0, 1):
        pid = cluster.kill_worker(slot)
        cluster.wait_replaced(slot, pid)
        assert total() == 40


def test_all_workers_dying_at_once(cluster):
    pids = {slot: cluster.kill_worker(slot) for slot in (0, 1)}
    # The sockets are the master's: a client that comes now waits, and is answered.
    assert cluster.get("/hello").status == 200
    for slot, pid in pids.items():
        cluster.wait_replaced(slot, pid)


# ---- crash loops ----

@pytest.mark.limit(90)
def test_a_crash_loop_is_cheap_and_heals(make_cluster):
    cluster = make_cluster(start=False, restart={"backoff_max": "4s"})
    good = cluster.dir / "good"
    path = shell_worker(cluster, f'[ -e {good} ] && exec {harness.WORKER} "$@"\nkill -ABRT $$')
    cluster.config["worker_path"] = path
    cluster.spawn()
    # 0.1 + 0.2 + 0.4 + 0.8 + 1.6 s of pauses: then it is as rare as it gets.
    cluster.wait_managed()
    harness.wait_until(lambda: len(obituaries(cluster)) >= 6, 15, "six deaths in slot 0")
    before = descendants_cpu(cluster.process.pid)
    watch = harness.Watch()
    harness.wait_until(lambda: watch.seconds >= 8, 30)
    share = (descendants_cpu(cluster.process.pid) - before) / watch.seconds
    if not harness.SANITIZE:
        assert share < 0.01, f"{100 * share:.2f} % of a processor"
    assert cluster.log_lines("SIGABRT")
    assert len(cluster.log_text().splitlines()) < 80
    health = cluster.management("GET", "/health")
    assert health.status == 503 and health.json["status"] == "down"
    assert cluster.workers()[0]["state"] in ("backoff", "starting")

    good.touch()
    cluster.wait_ready(10)
    assert cluster.get("/hello").status == 200
    assert cluster.management("GET", "/health").status == 200


@pytest.mark.parametrize("mode, reason", [(None, "No such file"), (0o644, "Permission denied")])
def test_a_worker_program_that_cannot_be_run(make_cluster, mode, reason):
    cluster = make_cluster(start=False)
    path = cluster.dir / "worker.sh"
    cluster.config["worker_path"] = path
    if mode is not None:
        shell_worker(cluster, f'exec {harness.WORKER} "$@"').chmod(mode)
    cluster.spawn()
    line = cluster.wait_log(re.escape(str(path)))[0]
    assert reason in line
    cluster.wait_managed()
    assert cluster.management("GET", "/health").status == 503
    assert cluster.process.poll() is None
    # As soon as the program is there, it runs.
    shell_worker(cluster, f'exec {harness.WORKER} "$@"')
    cluster.wait_ready(15)
    assert cluster.get("/hello").status == 200


@pytest.mark.parametrize("how", ["silent", "hello_only"])
def test_a_worker_that_never_says_ready(make_cluster, how):
    cluster = make_cluster(start=False, workers=1, start_timeout="400ms", drain_timeout="500ms")
    path = shell_worker(cluster, "exec tail -f /dev/null")
    if how == "hello_only":
        path = fake_worker.script(cluster.dir / "worker.py", "worker.hello()\nworker.receive()\n"
                                  "while True: worker.receive()")
        cluster.config["start_timeout"] = "2s" if not harness.SANITIZE else "4s"
    cluster.config["worker_path"] = path
    cluster.spawn()
    cluster.wait_managed()
    last = harness.wait_until(lambda: obituaries(cluster), 15, "an obituary")[0]
    assert last["reason"] == "start_timeout" and not last["was_ready"]
    assert last["signal"] in (signal.SIGKILL, signal.SIGABRT, signal.SIGTERM)
    assert cluster.management("GET", "/health").status == 503


def test_a_worker_that_hangs_is_steered_away_from_and_then_replaced(make_cluster):
    cluster = make_cluster(report_interval="100ms", suspect_timeout="300ms", hang_timeout="1500ms")
    pid = cluster.kill_worker(0, signal.SIGSTOP)
    harness.wait_until(lambda: cluster.workers()[0]["state"] == "suspect", 5, "slot 0 is suspect")
    for _ in range(20):  # each would hang in every second case
        assert cluster.get("/hello").status == 200
    cluster.wait_replaced(0, pid)
    assert obituaries(cluster)[0]["reason"] == "hang"


def test_a_suspect_worker_that_goes_on_is_taken_back(make_cluster):
    cluster = make_cluster(report_interval="100ms", suspect_timeout="300ms", hang_timeout="30s")
    pid = cluster.kill_worker(0, signal.SIGSTOP)
    harness.wait_until(lambda: cluster.workers()[0]["state"] == "suspect", 5, "slot 0 is suspect")
    os.kill(pid, signal.SIGCONT)
    harness.wait_until(lambda: cluster.workers()[0]["state"] == "ready", 5, "slot 0 is ready")
    assert cluster.worker_pid(0) == pid


# ---- scaling ----

def test_one_more_and_one_fewer_by_signal(make_cluster):
    cluster = make_cluster(max_workers=3)
    cluster.send_signal(signal.SIGTTIN)
    harness.wait_until(lambda: cluster.status()["worker_counts"]["ready"] == 3, 10, "3 workers")
    cluster.send_signal(signal.SIGTTIN)
    cluster.wait_log("at the limit")
    for count in (2, 1):
        cluster.send_signal(signal.SIGTTOU)
        harness.wait_until(lambda: len(cluster.worker_pids()) == count, 10, f"{count} workers")
    assert cluster.get("/hello").status == 200


def test_scaling_with_musterctl_drops_nothing(make_cluster, load):
    cluster = make_cluster(workers=1, max_workers=4, drain_idle_grace="300ms")
    client = load(cluster, "--keepalive", 8, "--rate", 400, "--new-rate", 100).wait_flowing()
    for count in (4, 2, 3, 1):
        result = cluster.musterctl("scale", str(count), "--reason", "a test")
        assert result.returncode == 0, result.stderr
        harness.wait_until(lambda: cluster.is_ready() and
                           cluster.status()["worker_counts"]["ready"] == count, 15,
                           f"{count} workers")
    report = client.stop()
    assert report["failure_count"] == 0, harness.failures_text(report)
    scaling = cluster.management("GET", "/scaling/status").json
    assert scaling["mode"] == "manual" and scaling["current"] == 1
    assert cluster.musterctl("scale", "9").returncode != 0  # beyond max_workers


def test_musterctl_shows_and_restarts(cluster):
    for command in (["status"], ["workers"], ["metrics"], ["--json", "status"]):
        result = cluster.musterctl(*command)
        assert result.returncode == 0 and result.stdout, result.stderr
    pid = cluster.worker_pid(1)
    assert cluster.musterctl("restart", "1").returncode == 0
    cluster.wait_replaced(1, pid)
    harness.wait_until(lambda: obituaries(cluster, 1), 10, "the old worker has gone")
    assert obituaries(cluster, 1)[0]["reason"] == "restart"
    assert cluster.musterctl("restart", "77").returncode != 0


# ---- reloading ----

@pytest.mark.limit(120)
def test_hup_rolls_the_workers_and_drops_nothing(make_cluster, load):
    cluster = make_cluster(drain_idle_grace="500ms")
    before = set(cluster.worker_pids())
    client = load(cluster, "--keepalive", 16, "--new-rate", 100).wait_flowing()
    for generation in (2, 3):
        cluster.write_config(**{"http": {"server_header": f"generation-{generation}"}})
        cluster.send_signal(signal.SIGHUP)
        cluster.wait_log("reload finished", count=generation - 1, timeout=30)
        assert cluster.get("/hello").headers["Server"] == f"generation-{generation}"
    report = client.stop()
    assert report["failure_count"] == 0, harness.failures_text(report)
    status = cluster.status()
    assert status["generation"] == 3
    assert not before & set(cluster.worker_pids())
    assert status["totals"]["restarts"] == 0  # nobody died


def test_hup_with_a_mistake_changes_nothing(cluster):
    pids = cluster.worker_pids()
    good = cluster.config_path.read_text()
    cluster.config_path.write_text(good + "\nno_such_key = 1\n")
    cluster.send_signal(signal.SIGHUP)
    cluster.wait_log("reload refused")
    failed = cluster.musterctl("reload")
    assert failed.returncode != 0 and "no_such_key" in failed.stderr + failed.stdout
    assert cluster.worker_pids() == pids
    cluster.config_path.write_text(good)
    assert cluster.musterctl("reload").returncode == 0
    assert not set(pids) & set(cluster.worker_pids())


# ---- logs ----

def test_usr1_opens_the_logs_again(make_cluster):
    cluster = make_cluster(start=False)
    # Workers that have given up root write to what the master opened for them.
    log, access = cluster.dir / "muster.log", cluster.dir / "access.log"
    cluster.config["log"] = {"file": log, "access": "all", "access_file": access}
    cluster.start()
    cluster.get("/hello?first")
    harness.wait_until(lambda: "first" in access.read_text(), 5, "the access log has the request")
    assert "worker ready" in log.read_text()
    for path in (log, access):
        path.rename(f"{path}.1")
    cluster.send_signal(signal.SIGUSR1)
    harness.wait_until(lambda: log.exists() and access.exists(), 5, "both files are there again")

    def arrived():
        cluster.get("/hello?second")
        return "second" in access.read_text()
    harness.wait_until(arrived, 5, "the access log has requests again")
    pid = cluster.kill_worker(0)
    harness.wait_until(lambda: str(pid) in log.read_text(), 5, "the log goes on")


def test_a_full_log_costs_no_request(make_cluster):
    """/dev/full takes no byte: lines are dropped and counted, requests are answered."""
    cluster = make_cluster(start=False)
    cluster.config["log"] = {"access": "all", "access_file": "/dev/full"}
    cluster.start()
    for _ in range(20):
        assert cluster.get("/hello").status == 200
    harness.wait_until(lambda: cluster.metrics()["muster_access_log_dropped_total"] >= 20, 5,
                       "the dropped lines are counted")


def test_json_lines(make_cluster):
    cluster = make_cluster(log={"format": "json"})
    lines = [json.loads(line) for line in cluster.log_text().splitlines()]
    assert {"master"} <= {line["process"] for line in lines}
    assert any(line["message"] == "worker ready" and isinstance(line["pid"], int) for line in lines)


def test_secrets_are_not_in_arguments_or_environment(cluster):
    for pid in [cluster.process.pid, *cluster.worker_pids()]:
        for name in ("cmdline", "environ"):
            with contextlib.suppress(PermissionError):  # nobody else may even look
                content = pathlib.Path(f"/proc/{pid}/{name}").read_bytes()
                assert cluster.token.encode() not in content
