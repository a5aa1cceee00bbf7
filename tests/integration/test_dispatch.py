# SPDX-License-Identifier: BSD-2-Clause
"""Who gets a new connection: the kernel spreads evenly over READY slots, and no socket is left alone."""
import os
import signal

import harness

CONNECTIONS = 1200


def dispatched(cluster):
    """How many connections came over each slot's sockets so far."""
    samples = cluster.metrics()
    prefix = 'muster_dispatch_connections_total{slot="'
    return {int(name[len(prefix):-2]): int(value) for name, value in samples.items()
            if name.startswith(prefix)}


def connect_many(cluster, count):
    for _ in range(count):
        assert cluster.get("/hello").status == 200


def new_by_slot(cluster, before, count):
    """The distribution of `count` new connections, once all have been reported."""
    def all_reported():
        now = dispatched(cluster)
        new = {slot: now[slot] - before.get(slot, 0) for slot in now
               if now[slot] != before.get(slot, 0)}
        return new if sum(new.values()) >= count else None
    return harness.wait_until(all_reported, 5, "every connection was reported")


def test_even_over_ready_slots(make_cluster):
    cluster = make_cluster(workers=3, max_workers=6, balance={"algorithm": "round-robin"})
    before = dispatched(cluster)
    connect_many(cluster, CONNECTIONS)
    new = new_by_slot(cluster, before, CONNECTIONS)
    assert set(new) == {0, 1, 2}, new
    # 400 expected, standard deviation 16.3: six of them on each side.
    for slot, count in new.items():
        assert 302 <= count <= 498, new
    assert {listener["policy"] for listener in cluster.status()["listeners"]} == {"round-robin"}


def test_nothing_goes_to_a_slot_that_was_scaled_away(make_cluster):
    cluster = make_cluster(workers=3, max_workers=3)
    assert cluster.musterctl("scale", "1").returncode == 0
    before = dispatched(cluster)
    connect_many(cluster, 200)
    assert set(new_by_slot(cluster, before, 200)) == {0}


def test_a_stopped_worker_is_steered_away_from(make_cluster):
    """SIGSTOP: suspect after suspect_timeout, its sockets are polled by the other, then trusted again."""
    cluster = make_cluster(report_interval="100ms", suspect_timeout="300ms")
    pid = cluster.kill_worker(1, signal.SIGSTOP)
    try:
        harness.wait_until(lambda: cluster.workers()[1]["state"] == "suspect", 5, "slot 1 is suspect")
        # A connection that was waiting in its socket, and every new one, is served.
        connect_many(cluster, 50)
    finally:
        os.kill(pid, signal.SIGCONT)
    harness.wait_until(lambda: cluster.workers()[1]["state"] == "ready", 5, "slot 1 is trusted")
    assert cluster.worker_pid(1) == pid


def test_what_was_queued_at_a_dead_worker_is_served(make_cluster):
    """Connections in the accept queue of a worker that dies are answered by a survivor."""
    cluster = make_cluster(suspect_timeout="30s", hang_timeout="60s")
    pid = cluster.kill_worker(0, signal.SIGSTOP)
    connections = [cluster.connect() for _ in range(60)]  # about half of them wait at slot 0
    for connection in connections:
        connection.send(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    os.kill(pid, signal.SIGKILL)
    for connection in connections:
        assert connection.read_response().status == 200
        connection.close()


def test_ipv4_and_ipv6(make_cluster):
    cluster = make_cluster(start=False)
    cluster.config[("listen", "default")]["address"] = "*"
    cluster.start()
    for address in ("127.0.0.1", "::1"):
        for _ in range(10):
            with harness.Connection((address, cluster.port)) as connection:
                assert connection.request("GET", "/hello").status == 200
    assert len(cluster.status()["listeners"]) == 2


def test_sigterm_to_one_worker_drops_nothing(make_cluster, load):
    """Somebody ends a worker by hand: its successor is there before it stops accepting."""
    cluster = make_cluster(workers=2, report_interval="1s")
    client = load(cluster, "--keepalive", 16, "--new-rate", 300).wait_flowing()
    for slot in (0, 1, 0):
        pid = cluster.kill_worker(slot, signal.SIGTERM)
        cluster.wait_replaced(slot, pid, timeout=3)
        harness.wait_until(lambda: not harness.process_alive(pid), 10, "the old worker is gone")
    report = client.stop()
    assert report["failure_count"] == 0, harness.failures_text(report)
    reasons = {worker["last_exit"]["reason"] for worker in cluster.workers().values()}
    assert reasons == {"restart"}
