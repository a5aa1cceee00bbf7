# SPDX-License-Identifier: BSD-2-Clause
"""kill -9 of random workers under load: a crash costs what was in flight in that one process, and
nothing else. MUSTER_SURVIVE_SECONDS says for how long."""
import os
import time

import harness
import pytest
import survival

SECONDS = float(os.environ.get("MUSTER_SURVIVE_SECONDS", 5 if harness.SANITIZE else 15))
KILL_INTERVAL = 0.2
REPORT_INTERVAL = 0.1
WORKERS = 3


@pytest.mark.limit(int(SECONDS) + 90)
def test_kill_9_every_200_ms_under_load(make_cluster, load):
    cluster = make_cluster(workers=WORKERS, report_interval="100ms", suspect_timeout="3s")
    files_before = survival.open_files(cluster.process.pid)
    client = load(cluster, "--keepalive", 64, "--new-rate", 500, "--series").wait_flowing()
    kills, poller, report = survival.run(cluster, client, SECONDS, KILL_INTERVAL)

    assert len(kills) >= 0.5 * SECONDS / KILL_INTERVAL / harness.PATIENCE
    assert not any(survival.connections_failed(report).values()), harness.failures_text(report)
    strange = survival.unexplained(kills, report)
    assert not strange, f"{len(strange)} of {harness.failures_text(report)}: {strange[:5]}"
    assert report["answered"] > 1000 * SECONDS / harness.PATIENCE
    overrun = report["kinds"]["new"]["overrun"]
    assert overrun == 0, "the load client could not keep its rate"

    # Counters never fell, and what was lost is what the dead had not reported yet: at most an
    # interval of one worker's share each.
    assert poller.polls > SECONDS and not poller.fallen, poller.fallen[:5]
    cluster.wait_ready()
    counted = survival.settled_total(cluster)
    failed = report["failure_count"]
    assert counted <= report["answered"] + failed
    share = len(kills) * (REPORT_INTERVAL * 1.3) / report["elapsed_s"] / WORKERS
    lost = (report["answered"] - counted) / report["answered"]
    if not harness.SANITIZE:
        assert lost <= 1.5 * share, f"{100 * lost:.1f} % lost, {100 * share:.1f} % expected at most"

    # The cluster is as it was: every death was followed by one start, nothing piled up.
    assert cluster.status()["totals"]["restarts"] == len(kills)
    assert survival.open_files(cluster.process.pid) <= files_before + 3


def test_at_most_one_report_interval_is_lost(make_cluster):
    """The same, exactly: one client that knows when each of its answers came."""
    cluster = make_cluster(workers=1, report_interval="300ms")
    answered_total, counted_total = 0, 0
    for _ in range(6):
        pid = cluster.worker_pid(0)
        times = []
        watch = harness.Watch()
        with cluster.connect() as connection:
            while watch.seconds < 0.75:
                assert connection.request("GET", "/hello").status == 200
                times.append(time.monotonic())
            killed_at = time.monotonic()
            harness.kill(pid)
        cluster.wait_replaced(0, pid)
        counted = cluster.metrics()["muster_http_requests_answered_total"]
        lost = answered_total + len(times) - counted
        unreported = sum(at > killed_at - 0.3 - 0.05 * harness.PATIENCE for at in times)
        assert 0 <= lost <= unreported, f"{lost} lost, {unreported} answered in the last interval"
        # What is lost once stays lost; the next round starts from what is counted.
        answered_total = counted_total = counted
    assert counted_total > 0


def test_a_queue_of_connections_survives_its_worker(make_cluster):
    """Connections that wait in the accept queue of a worker that is killed are served by a
    survivor: the master holds the socket."""
    cluster = make_cluster(workers=2)
    pid = cluster.kill_worker(0, harness.signal.SIGSTOP)
    harness.wait_until(lambda: harness.process_stat(pid)[0] == "T", 5)
    connections = [cluster.connect() for _ in range(60)]
    for connection in connections:
        connection.send(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    if os.geteuid() == 0:  # only root may look at what it holds
        assert not harness.peer_ports(pid)  # it was stopped: it accepted none of them
    watch = harness.Watch()
    harness.kill(pid)
    for connection in connections:
        assert connection.read_response().text == "hello\n"
        connection.close()
    assert watch.seconds < 2 * harness.PATIENCE
    cluster.wait_replaced(0, pid)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_new_connections_are_spread_evenly(make_cluster, address):
    cluster = make_cluster(workers=4, sections={("listen", "default"): {"address": "*"}})
    for _ in range(400):
        with harness.Connection((address, cluster.port)) as connection:
            connection.request("GET", "/hello", {"Connection": "close"})
    harness.wait_until(
        lambda: cluster.metrics()["muster_connections_accepted_total"] == 400, 5, "all counted")
    samples = cluster.metrics()
    slots = [samples[f'muster_dispatch_connections_total{{slot="{slot}"}}'] for slot in range(4)]
    assert sum(slots) == 400
    assert min(slots) >= 60, slots  # 100 each; a fair coin strays that far once in 20000 runs
