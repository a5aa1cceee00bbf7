# SPDX-License-Identifier: BSD-2-Clause
"""Reloads that are refused or taken back leave everything as it was."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import fake_worker
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
    assert not second.stat().st_size  # it was seen that it could be written, no more
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


# ---- the canary ----

def start_reload(cluster):
    """musterctl reload, not waited for."""
    return subprocess.Popen([str(harness.MUSTERCTL), "--socket", str(cluster.management_socket),
                             "reload"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_canary(cluster, state="ready"):
    """Waits until the canary is in that state; what the status says of it."""
    def there():
        reload = cluster.status()["reload"]
        canary = reload and reload["canary"]
        return canary and canary["state"] == state and canary
    return harness.wait_until(there, 10, f"the canary is {state}")


def wait_settled(cluster):
    return harness.wait_until(cluster.is_ready, 15, "nothing is draining any more")


def test_a_canary_that_ends_later_takes_it_back(make_cluster, load):
    """It was READY and served; nobody notices, and nothing but the canary was started."""
    cluster = make_cluster(canary_time="30s")
    pids = cluster.worker_pids()
    client = load(cluster, "--keepalive", 8, "--new-rate", 100).wait_flowing()
    process = start_reload(cluster)
    canary = wait_canary(cluster)
    status = cluster.status()
    assert canary["slot"] == 0 and canary["pid"] not in pids and 0 < canary["remaining"] <= 30
    assert status["reload"]["phase"] == "canary" and status["generation"] == 1
    assert cluster.worker_pids() == pids
    os.kill(canary["pid"], signal.SIGTERM)  # told to end by somebody else: gone, and reported
    _, error = process.communicate(timeout=40 * harness.PATIENCE)
    assert process.returncode == 1 and "generation 1 stays" in error, error
    assert "told to end by somebody else" in error
    assert cluster.worker_pids() == pids
    report = client.stop()
    assert not report["failures"], harness.failures_text(report)


def test_a_killed_canary_counts_as_failed(make_cluster):
    """SIGKILL may be the kernel that ran out of memory."""
    cluster = make_cluster(canary_time="30s")
    pids = cluster.worker_pids()
    process = start_reload(cluster)
    canary = wait_canary(cluster)
    os.kill(canary["pid"], signal.SIGKILL)
    _, error = process.communicate(timeout=20 * harness.PATIENCE)
    assert process.returncode == 1
    assert "canary of generation 2 failed" in error and "SIGKILL" in error, error
    assert cluster.worker_pids() == pids
    status = cluster.status()
    assert status["reload"]["failed"] and status["reload"]["phase"] == "over"
    assert status["reload"]["duration"] > 0 and status["reload"]["canary"] is None
    assert status["workers"][0]["last_exit"]["pid"] == canary["pid"]
    assert cluster.musterctl("scale", "3").returncode == 0  # and all goes on


def test_a_canary_that_exits_says_how(make_cluster):
    cluster = make_cluster(canary_time="20s")
    pids = cluster.worker_pids()
    script = fake_worker.script(cluster.dir / "short-lived", """
import threading
worker.become_ready()
threading.Timer(0.3, lambda: os._exit(41)).start()
worker.go_on()
""")
    cluster.write_config(worker_path=script)
    result = cluster.musterctl("reload")
    assert result.returncode == 1 and "exited with status 41" in result.stderr, result.stderr
    assert cluster.worker_pids() == pids and cluster.get("/hello").status == 200


def test_a_canary_that_hangs_takes_it_back(make_cluster):
    cluster = make_cluster(canary_time="1s", start_timeout="2s", report_interval="100ms",
                           suspect_timeout="300ms", hang_timeout="60s")
    pids = cluster.worker_pids()
    cluster.write_config(canary_time="3s")
    process = start_reload(cluster)
    canary = wait_canary(cluster)
    os.kill(canary["pid"], signal.SIGSTOP)
    try:
        _, error = process.communicate(timeout=20 * harness.PATIENCE)
        assert process.returncode == 1 and "hangs" in error, error
        assert cluster.worker_pids() == pids
        for _ in range(10):
            assert cluster.get("/hello").status == 200
    finally:
        os.kill(canary["pid"], signal.SIGCONT)


def test_scaling_and_stopping_during_the_canary(make_cluster):
    cluster = make_cluster(canary_time="60s", drain_delay="0s")
    process = start_reload(cluster)
    canary = wait_canary(cluster)
    assert cluster.musterctl("scale", "4").returncode == 0
    workers = cluster.workers()
    assert len(workers) == 4 and {worker["generation"] for worker in workers.values()} == {1}
    assert cluster.musterctl("scale", "1").returncode == 0
    assert wait_canary(cluster)["pid"] == canary["pid"]
    cluster.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=10 * harness.PATIENCE)
    assert process.returncode == 1 and "began to stop" in error
    assert cluster.wait_exit() == 0


def test_reloads_during_a_reload_are_done_once_more(make_cluster):
    cluster = make_cluster(canary_time="1s")
    first = start_reload(cluster)
    wait_canary(cluster)
    others = [start_reload(cluster) for _ in range(3)]
    for process in (first, *others):
        output, error = process.communicate(timeout=30 * harness.PATIENCE)
        assert process.returncode == 0, error
        assert "no key has changed" in output
    assert cluster.status()["generation"] == 3


def test_reload_while_nobody_is_ready(make_cluster):
    """A configuration that no worker can start with is mended by a reload."""
    cluster = make_cluster(start=False, canary_time="60s")
    cluster.write_config(worker_path=failing_worker(cluster))
    cluster.spawn()
    cluster.wait_log("worker died")
    cluster.write_config(worker_path="")
    result = cluster.musterctl("reload")
    assert result.returncode == 0, result.stderr
    assert "worker_path" in result.stdout
    assert cluster.get("/hello").status == 200


# ---- what the caller learns ----

def test_changes_are_listed(make_cluster):
    cluster = make_cluster()
    cluster.write_config(workers=3, management={"token": "quite-another-secret-token"})
    result = cluster.musterctl("reload")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "workers: 2 -> 3" in lines and "2 changes" in lines[-1]
    assert [line for line in lines if line.startswith("management.token: ")]
    assert "secret" not in result.stdout
    reload = cluster.status()["reload"]
    assert reload["changes"][0] == {"key": "workers", "from": "2", "to": "3", "live": True}
    assert reload["change_count"] == 2 and reload["replaced"] == reload["to_replace"] == 3
    cluster.write_config(workers=2)
    answer = cluster.management("POST", "/cluster/reload", over_socket=True)
    assert answer.json["changes"] == [{"key": "workers", "from": "3", "to": "2", "live": True}]
    answer = cluster.management("POST", "/cluster/reload?wait=0", over_socket=True)
    assert answer.status == 202 and answer.json["done"] is False


def test_keys_that_cannot_change_live_are_named(make_cluster):
    cluster = make_cluster()
    pids = cluster.worker_pids()
    cluster.write_config(max_workers=9, workers=3, management={"port": harness.free_port()})
    result = cluster.musterctl("reload", "--json")
    assert result.returncode == 1
    message = json.loads(result.stdout)["error"]["message"]
    assert "max_workers" in message and "management.port" in message and "workers (2" not in message
    assert cluster.worker_pids() == pids and cluster.status()["generation"] == 1
    cluster.send_signal(signal.SIGHUP)
    cluster.wait_log("reload refused", count=2)


def test_a_log_that_cannot_be_opened_is_refused(make_cluster):
    cluster = make_cluster()
    cluster.write_config(log={"file": cluster.dir / "nowhere" / "log"})
    result = cluster.musterctl("reload")
    assert result.returncode == 1 and "cannot open the log file" in result.stderr
    assert cluster.status()["generation"] == 1


def test_signals_do_not_pile_up(make_cluster):
    cluster = make_cluster(canary_time="2s")
    cluster.send_signal(signal.SIGHUP)
    wait_canary(cluster)
    for _ in range(5):
        cluster.send_signal(signal.SIGHUP)
        harness.wait_until(cluster.status, 5)
    cluster.wait_log("one more reload is to come already")
    harness.wait_until(lambda: cluster.status()["generation"] == 3, 15, "it was done once more")
    harness.wait_until(lambda: not cluster.status()["reload"]["running"], 15)
    assert cluster.status()["generation"] == 3


# ---- the worker binary ----

def test_a_binary_replaced_on_disk_waits_for_a_reload(make_cluster):
    cluster = make_cluster(start=False)
    program = cluster.dir / "program"
    shutil.copy(harness.WORKER, program)
    cluster.config["worker_path"] = program
    cluster.start()
    binary = cluster.status()["worker_binary"]
    assert binary["path"] == str(program) and binary["pinned"]
    assert not binary["binary_changed_on_disk"]
    os.rename(failing_worker(cluster), program)
    harness.wait_until(lambda: cluster.status()["worker_binary"]["binary_changed_on_disk"], 5)
    for _ in range(2):
        # A crash is not a reload, and neither is a reload that was taken back.
        pid = cluster.kill_worker(0)
        cluster.wait_replaced(0, pid)
        assert cluster.get("/hello").status == 200
        result = cluster.musterctl("reload")
        assert result.returncode == 1 and "exited with status 3" in result.stderr
    another = cluster.dir / "another"
    shutil.copy(harness.WORKER, another)
    os.rename(another, program)
    result = cluster.musterctl("reload")
    assert result.returncode == 0, result.stderr
    assert "(worker program): " in result.stdout
    assert not cluster.status()["worker_binary"]["binary_changed_on_disk"]
    os.unlink(program)
    pid = cluster.kill_worker(1)
    cluster.wait_replaced(1, pid)  # even so
    result = cluster.musterctl("reload")
    assert result.returncode == 1 and str(program) in result.stderr


def test_a_new_master_keeps_the_binary_of_its_workers(make_cluster):
    cluster = make_cluster(start=False)
    program = cluster.dir / "program"
    shutil.copy(harness.WORKER, program)
    cluster.config["worker_path"] = program
    cluster.start()
    cluster.kill_master()
    os.rename(failing_worker(cluster), program)
    cluster.spawn()
    cluster.wait_ready()
    assert cluster.status()["worker_binary"]["binary_changed_on_disk"]
    pid = cluster.kill_worker(0)
    cluster.wait_replaced(0, pid)
    assert "exited with status 3" in cluster.musterctl("reload").stderr


def test_a_script_is_run_by_its_path(make_cluster):
    cluster = make_cluster(start=False)
    script = cluster.dir / "wrapper"
    script.write_text(f'#!/bin/sh\nexec {harness.WORKER} "$@"\n')
    script.chmod(0o755)
    cluster.config["worker_path"] = script
    cluster.start()
    assert not cluster.status()["worker_binary"]["pinned"]
    assert cluster.musterctl("reload").returncode == 0


# ---- generations ----

def living_workers(cluster):
    return [pid for pid in cluster.processes() if pid != cluster.process.pid]


def test_generations_do_not_pile_up(make_cluster):
    """Reload after reload, and in each generation a download that nobody reads."""
    cluster = make_cluster(start=False, canary_time="0s", workers=1, reload_drain_timeout="1h",
                           drain_timeout="1s")
    files = cluster.dir / "files"
    files.mkdir()
    (files / "big").write_bytes(b"x" * (8 << 20))
    cluster.config[("route", "/files/")] = {"root": files}
    cluster.start()
    held = []
    try:
        for _ in range(8):
            connection = cluster.connect()
            connection.send(b"GET /files/big HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b" 200 " in connection.file.readline()
            held.append(connection)
            result = cluster.musterctl("reload")
            assert result.returncode == 0, result.stderr
            assert len(living_workers(cluster)) <= 5
        slot = cluster.status()["workers"][0]
        assert 2 <= len(slot["draining"]) <= 4 and slot["drains_cut_for_room"] >= 3
        oldest = harness.wait_until(
            lambda: [old for old in cluster.status()["workers"][0]["draining"]
                     if old["in_flight"] == 1], 5, "a report of what is in flight")[-1]
        assert oldest["in_flight"] == 1 and oldest["deadline_by"]
        assert "waits for 1 request" in oldest["waits_for"]
        cut = slot["last_exit"]
        assert cut["reason"] == "reload" and cut["cut_requests"] == 1
        assert cluster.log_lines("ending the oldest drain")
        assert cluster.get("/hello").status == 200
    finally:
        for connection in held:
            connection.close()
    wait_settled(cluster)


def test_a_stream_of_reloads_stays_bounded(make_cluster, load):
    cluster = make_cluster(canary_time="0s", reload_drain_timeout="1h")
    client = load(cluster, "--keepalive", 8, "--new-rate", 100).wait_flowing()
    for _ in range(20):
        cluster.send_signal(signal.SIGHUP)
        time.sleep(0.1)
        assert len(living_workers(cluster)) <= 10
    harness.wait_until(lambda: not cluster.status()["reload"]["running"], 20)
    report = client.stop()
    assert not report["failures"], harness.failures_text(report)
    assert not cluster.status()["reload"]["failed"]


def test_min_workers_grows_past_a_number_set_by_hand(make_cluster):
    cluster = make_cluster(workers=3, max_workers=4)
    assert cluster.musterctl("scale", "1").returncode == 0
    cluster.write_config(min_workers=2)
    result = cluster.musterctl("reload")
    assert result.returncode == 0 and "2 workers are ready" in result.stdout, result.stdout
    counts = cluster.status()["worker_counts"]
    assert (counts["ready"], counts["desired"], counts["min"]) == (2, 2, 2), counts
    assert cluster.status()["manual"]["instances"] == 2
