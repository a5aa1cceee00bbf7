# SPDX-License-Identifier: BSD-2-Clause
"""Reloads that are refused or taken back leave everything as it was."""
import os
import pathlib
import shutil
import signal
import subprocess
import time

import harness


def failing_worker(cluster, name="bad-worker"):
    path = cluster.dir / name
    path.write_text("#!/bin/sh\nexit 3\n")
    path.chmod(0o755)
    return path


def test_more_workers_than_slots_is_refused(make_cluster):
    cluster = make_cluster(workers=2, max_workers=None)
    slots = cluster.status()["listeners"][0]["slots"]
    cluster.write_config(workers=slots + 1)
    result = cluster.musterctl("reload")
    assert result.returncode == 1
    assert f"set max_workers = {slots + 1}" in result.stderr
    cluster.write_config(workers=2, min_workers=2)
    assert cluster.musterctl("reload").returncode == 0
    assert cluster.get("/hello").status == 200


def test_a_worker_that_cannot_start_takes_it_back(make_cluster):
    """The canary dies: the old workers, the old log and the old program stay."""
    cluster = make_cluster(start=False)
    first, second = cluster.dir / "first.log", cluster.dir / "second.log"
    cluster.config["log"] = {"file": first}
    cluster.start()
    pids = cluster.worker_pids()
    cluster.write_config(worker_path=failing_worker(cluster), log={"file": second})
    result = cluster.musterctl("reload")
    assert result.returncode == 1 and "exited with status 3" in result.stderr, result.stderr
    assert cluster.worker_pids() == pids
    status = cluster.status()
    assert status["reload"]["failed"] and status["worker_counts"]["ready"] == 2
    assert "going back" in first.read_text()
    # A worker that dies now is replaced by one of the old program, and the old log has it.
    pid = cluster.kill_worker(0)
    cluster.wait_replaced(0, pid)
    assert f"pid={pid}" in first.read_text().split("worker died")[-1]
    assert not second.exists()  # nothing of the new configuration was put in force
    assert cluster.get("/hello").status == 200


def test_a_new_worker_program_is_taken_over(make_cluster):
    cluster = make_cluster()
    program = cluster.dir / "another-worker"
    shutil.copy(harness.WORKER, program)
    cluster.write_config(worker_path=program)
    assert cluster.musterctl("reload").returncode == 0
    for pid in cluster.worker_pids():
        assert os.readlink(f"/proc/{pid}/exe") == str(program)


def test_a_reload_that_waits_is_answered_when_the_cluster_stops(make_cluster):
    cluster = make_cluster(start_timeout="30s", drain_delay="0s")
    slow = cluster.dir / "slow-worker"
    slow.write_text("#!/bin/sh\nexec sleep 30\n")
    slow.chmod(0o755)
    cluster.write_config(worker_path=slow)
    waiting = [subprocess.Popen([str(harness.MUSTERCTL), "--socket", str(cluster.management_socket),
                                 "reload"], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    cluster.wait_log("reload started")
    harness.wait_until(lambda: cluster.status()["reload"]["running"], 5)
    cluster.send_signal(signal.SIGTERM)
    for process in waiting:
        _, error = process.communicate(timeout=10 * harness.PATIENCE)
        assert process.returncode != 0 and error
    assert cluster.wait_exit() == 0


def test_the_last_worker_that_can_serve_does_not_leave(make_cluster):
    """Scaling down to a worker that hangs: the other one stays until that is mended."""
    cluster = make_cluster(workers=2, report_interval="100ms", suspect_timeout="300ms",
                           hang_timeout="20s")
    pid = cluster.kill_worker(0, signal.SIGSTOP)
    try:
        harness.wait_until(lambda: cluster.workers()[0]["state"] == "suspect", 5)
        cluster.send_signal(signal.SIGTTOU)
        cluster.wait_log("scaling")
        for _ in range(20):
            assert cluster.get("/hello").status == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    harness.wait_until(lambda: set(cluster.workers()) == {0}, 10, "slot 1 has gone")
    assert cluster.get("/hello").status == 200


def test_started_with_sigchld_ignored_and_signals_blocked(make_cluster):
    def careless():
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    cluster = make_cluster(preexec=careless)
    pid = cluster.kill_worker(0)
    cluster.wait_replaced(0, pid)
    assert cluster.workers()[0]["last_exit"]["cause"] == "killed by SIGKILL"
    assert cluster.stop() == 0


def test_two_masters_that_start_together(make_cluster):
    """However close they are, one of them is told that the port is taken."""
    for _ in range(5):
        one = make_cluster(start=False, max_workers=64)
        two = make_cluster(start=False, max_workers=64)
        two.config[("listen", "default")]["port"] = one.port
        one.spawn()
        two.spawn()
        harness.wait_until(lambda: one.process.poll() is not None or two.process.poll() is not None,
                           10, "one of them ends")
        loser, winner = (one, two) if one.process.poll() is not None else (two, one)
        loser.expect_status = 1
        assert loser.wait_exit() == 1
        assert "address already in use" in loser.log_text()
        winner.wait_log("ready workers=")
        assert winner.stop() == 0


def test_standard_streams_as_log_files(make_cluster):
    cluster = make_cluster(log={"file": "/dev/stdout"})
    assert cluster.wait_log("ready workers=")


def test_a_pipe_that_nobody_reads_is_refused_as_a_log(make_cluster):
    cluster = make_cluster(start=False)
    pipe = cluster.dir / "pipe"
    os.mkfifo(pipe)
    cluster.config["log"] = {"file": pipe}
    started = time.monotonic()
    result = cluster.run()
    assert result.returncode == 1 and str(pipe) in result.stderr
    assert time.monotonic() - started < 5 * harness.PATIENCE
    assert pathlib.Path(pipe).is_fifo()
