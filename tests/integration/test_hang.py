# SPDX-License-Identifier: BSD-2-Clause
"""Workers that stop, hang or stall: nobody is to wait for them."""
import os
import re
import signal
import threading
import time

import fake_worker
import harness
import pytest
from harness import PATIENCE, Connection, Watch, wait_until


@pytest.fixture
def make_watched(make_cluster):
    """Clusters of the worker with routes that misbehave (tests/tools/test_worker.c)."""
    def make(**config):
        return make_cluster(worker_path=harness.TEST_WORKER, **config)
    return make


def test_the_test_worker_misbehaves_as_it_says(make_watched):
    cluster = make_watched(workers=1)
    with Connection(cluster.address) as slow, Connection(cluster.address) as other:
        delayed = threading.Thread(target=slow.request, args=("GET", "/test/delay?ms=300"))
        watch = Watch()
        delayed.start()
        assert other.request("GET", "/hello").status == 200
        delayed.join()
        assert watch.seconds >= 0.2  # its timer is a coarse one
        for path in ("/test/slow?ms=50", "/test/stall?ms=50"):
            watch = Watch()
            assert other.request("GET", path).text == "done\n"
            assert watch.seconds >= 0.05
    before = cluster.worker_pids()
    with Connection(cluster.address) as connection, pytest.raises(ConnectionError):
        connection.request("GET", "/test/crash")
    wait_until(lambda: cluster.is_ready() and cluster.worker_pids() != before,
               what="the crashed worker is replaced")


def test_events_tell_what_happened(make_watched):
    cluster = make_watched(workers=1, max_workers=3)
    assert cluster.musterctl("scale", "2", "--reason", "more to do").returncode == 0
    with Connection(cluster.address) as connection, pytest.raises(ConnectionError):
        connection.request("GET", "/test/crash")
    wait_until(lambda: cluster.events("death"), what="the death is an event")
    events = cluster.events()
    assert [event["kind"] for event in events[-2:]] == ["scale", "start"], events
    assert events[-2]["text"] == "from 1 to 2 workers: more to do"
    death = cluster.events("death")[0]
    assert death["slot"] in (0, 1) and death["pid"] and "SIGSEGV" in death["text"], death
    assert cluster.status()["events"] == events[:20]
    assert cluster.management("GET", "/events?limit=1").json == events[:1]
    bad = cluster.management("GET", "/events?limit=many")
    assert (bad.status, "1 to 512" in bad.text) == (400, True), bad.text
    shown = cluster.musterctl("events")
    assert shown.returncode == 0 and "more to do" in shown.stdout.splitlines()[1], shown.stdout


STEPS = 12  # lines of a backtrace that are looked at


def suspects(cluster):
    """{slot: reason} of the workers that are suspect."""
    return {slot: worker["suspect_reason"] for slot, worker in cluster.workers().items()
            if worker["state"] == "suspect"}


def misbehave(cluster, path):
    """Sends a request and does not wait for its answer; the slot that has it, once it is late."""
    connection = Connection(cluster.address)
    connection.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
    slots = wait_until(lambda: list(suspects(cluster)), what=f"the worker with {path} is suspect")
    assert len(slots) == 1, slots
    return slots[0], connection


class Visitor:
    """Connects again and again, a request each, from several threads; when each began, and how
    long it took."""

    def __init__(self, cluster, threads=4):
        self.address, self.stopped = cluster.address, False
        self.visits, self.failures = [], []
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def run(self):
        while not self.stopped:
            began = time.monotonic()
            try:
                with Connection(self.address, 30) as connection:
                    assert connection.request("GET", "/hello").status == 200
                self.visits.append((began, time.monotonic() - began))
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))

    def stop(self):
        self.stopped = True
        for thread in self.threads:
            thread.join()
        assert not self.failures, self.failures[:5]
        return self.visits


def test_nobody_waits_for_a_stopped_worker(make_watched, capsys):
    """SIGSTOP for 5 s: what was accepted before waits for it, nobody who comes afterwards does."""
    cluster = make_watched(workers=3, hang_timeout="60s")
    visitor = Visitor(cluster)
    wait_until(lambda: len(visitor.visits) > 100, what="connections are being made")
    pid = cluster.kill_worker(1, signal.SIGSTOP)
    stopped = time.monotonic()
    wait_until(lambda: suspects(cluster), what="the stopped worker is suspect")
    time.sleep(max(0, stopped + 5 - time.monotonic()))
    os.kill(pid, signal.SIGCONT)
    wait_until(cluster.is_ready, 30, what="the worker is trusted again")
    waits = [seconds for began, seconds in visitor.stop() if began > stopped + 0.01]
    with capsys.disabled():
        print(f"\n  longest wait of {len(waits)} new connections while a worker was stopped: "
              f"{max(waits) * 1000:.0f} ms")
    assert max(waits) < 2 * PATIENCE
    assert cluster.worker_pid(1) == pid
    reason = cluster.events("suspect")[-1]
    assert (reason["slot"], reason["pid"]) == (1, pid) and "stopped by a signal" in reason["text"]
    assert cluster.metrics()['muster_worker_suspected_total{slot="1"}'] >= 1


def test_what_waits_at_a_stopped_worker_is_served_by_another(make_watched):
    cluster = make_watched(workers=2, hang_timeout="60s")
    pid = cluster.worker_pid(0)
    os.kill(pid, signal.SIGSTOP)
    connections = []
    for _ in range(16):  # before anybody can have noticed; about half of them went to slot 0
        connections.append(Connection(cluster.address))
        connections[-1].send("GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    served_by = {connection.read_response().json["slot"] for connection in connections}
    assert served_by == {1}
    for connection in connections:
        connection.close()
    os.kill(pid, signal.SIGCONT)
    wait_until(cluster.is_ready, what="the worker is trusted again")


def test_a_worker_that_spins_is_traced_killed_and_replaced(make_watched):
    cluster = make_watched(workers=3, hang_timeout="2s")
    slot, _ = misbehave(cluster, "/test/spin")
    pid = cluster.worker_pid(slot)
    assert "one loop turn lasts" in cluster.events("suspect")[0]["text"]
    lines = wait_until(lambda: cluster.log_lines(r"test_spin\+"), what="a backtrace")
    log = cluster.log_text().splitlines()
    before = log[log.index(lines[0]) - STEPS:log.index(lines[0])]
    assert any(f"slot={slot} pid={pid} is late: in one loop turn for" in line for line in before)
    for _ in range(20):  # nobody new gets to it
        assert cluster.get("/health/live").json["slot"] != slot
    cluster.wait_replaced(slot, pid)
    killed = cluster.events("hang_killed")
    assert [(event["slot"], event["pid"]) for event in killed] == [(slot, pid)]
    assert cluster.workers()[slot]["last_exit"]["reason"] == "hang"


def test_who_stalls_again_and_again_is_kept_away(make_watched):
    """Of five workers, so that another one that is late on a busy machine makes no majority."""
    cluster = make_watched(workers=5, hang_timeout="5s")
    with Connection(cluster.address) as staller:
        slot = staller.request("GET", "/health/live").json["slot"]
        pid = cluster.worker_pid(slot)
        for count in range(4):
            staller.request("GET", "/test/stall?ms=150")
            if count >= 2:  # 4 s of probation, then 8 s
                reason = wait_until(lambda: "on probation" in suspects(cluster).get(slot, "")
                                    and suspects(cluster)[slot], what="it is on probation")
                assert int(re.search(r"late (\d+) times", reason)[1]) > count, reason
                served_by = {cluster.get("/health/live").json["slot"] for _ in range(10)}
                assert slot not in served_by
            time.sleep(0.8)
    assert cluster.worker_pid(slot) == pid
    assert not cluster.events("hang_killed") and not cluster.events("death")
    wait_until(cluster.is_ready, 30, what="it behaves, so it is trusted again")


def test_a_busy_worker_that_goes_on_is_never_killed(make_watched):
    cluster = make_watched(workers=2, hang_timeout="4s")
    with Connection(cluster.address) as connection:
        pid = cluster.worker_pid(connection.request("GET", "/health/live").json["slot"])
        # One long turn after the other, for 5 s. Not of processor time: others may have that.
        for _ in range(10):
            assert connection.request("GET", "/test/stall?ms=500").status == 200
    assert pid in cluster.worker_pids()
    assert not cluster.events("hang_killed") and not cluster.events("death")


def test_a_stopped_master_suspects_nobody_for_it(make_watched):
    """Everything stands still, as when a virtual machine is paused."""
    cluster = make_watched(workers=2, hang_timeout="1s")
    everybody = [cluster.process.pid, *cluster.worker_pids()]
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(1.5)
    for pid in everybody:
        os.kill(pid, signal.SIGCONT)
    assert cluster.get("/hello").status == 200
    cluster.wait_ready()
    assert cluster.worker_pids() == everybody[1:]
    assert not cluster.events("hang_killed") and not cluster.events("death")


def test_a_worker_of_contract_version_1_has_its_reports_only(make_cluster):
    """No board: two report intervals without a report are late, less is not."""
    cluster = make_cluster(start=False, workers=2)
    fake = fake_worker.script(cluster.dir / "old-worker", "worker.become_ready()\nworker.go_on()")
    shell = cluster.dir / "worker"
    shell.write_text(f'#!/bin/sh\n[ "$2" = 1 ] && exec {fake} "$@"\nexec {harness.WORKER} "$@"\n')
    shell.chmod(0o755)
    cluster.config["worker_path"] = shell
    cluster.start()
    ready = Watch()
    wait_until(lambda: suspects(cluster), what="the worker that does not report is suspect")
    assert ready.seconds > 1
    assert suspects(cluster)[1].startswith("no report for"), suspects(cluster)
    for _ in range(10):
        assert cluster.get("/health/live").json["slot"] == 0


def test_the_count_of_suspicions_outlives_the_master(make_watched):
    cluster = make_watched(workers=2, hang_timeout="60s")
    pid = cluster.kill_worker(1, signal.SIGSTOP)
    wait_until(lambda: suspects(cluster), what="the stopped worker is suspect")
    os.kill(pid, signal.SIGCONT)
    cluster.wait_ready()
    cluster.kill_master()
    cluster.start()
    assert cluster.workers()[1]["suspected"] >= 1
    assert cluster.worker_pid(1) == pid
    adopted = cluster.events("adopted")
    assert adopted and "2 workers" in adopted[0]["text"], adopted


def test_a_worker_is_not_disturbed_by_the_question(make_watched):
    """SIGURG from anybody: a line in the log, and the worker goes on."""
    cluster = make_watched(workers=1)
    with Connection(cluster.address) as connection:
        for count in range(1, 4):
            cluster.kill_worker(0, signal.SIGURG)
            cluster.wait_log("is late: between two loop turns", count=count)
            assert connection.request("GET", "/hello").status == 200
    assert not cluster.events("death")
