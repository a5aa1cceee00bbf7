# SPDX-License-Identifier: BSD-2-Clause
"""SIGTERM: what is in flight is finished, nothing is dropped, and it ends in time."""
import json
import os
import pathlib
import signal
import subprocess
import sys

import harness
import pytest
import wire

BIG = 8 << 20  # more than the socket buffers take, so that the answer waits for its reader


@pytest.fixture
def big_files(make_cluster):
    """A cluster that serves one big file."""
    cluster = make_cluster(start=False)
    files = cluster.dir / "files"
    files.mkdir()
    (files / "big").write_bytes(b"x" * BIG)
    cluster.config[("route", "/files/")] = {"root": files}
    return cluster


def begin_download(cluster):
    """A connection in the middle of an answer: the head is read, the body waits."""
    connection = cluster.connect(timeout=30)
    connection.send(b"GET /files/big HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 200 " in connection.file.readline()
    return connection


def finish_download(connection):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.file.readline()
    return len(connection.file.read(BIG))


@pytest.mark.limit(90)
@pytest.mark.parametrize("sig, ordinary_user", [(signal.SIGTERM, False), (signal.SIGINT, False),
                                                (signal.SIGTERM, True)])
def test_under_load_nothing_fails(make_cluster, load, sig, ordinary_user):
    if ordinary_user and os.geteuid() != 0:
        pytest.skip("the others ran as an ordinary user")
    cluster = make_cluster(start=False, drain_delay="1s", drain_timeout="10s",
                           drain_idle_grace="1s")
    if ordinary_user:
        cluster.become_ordinary_user()
    cluster.start()
    client = load(cluster, "--keepalive", 64, "--new-rate", 500, "--linger", 3).wait_flowing()
    watch = harness.Watch()
    signalled_at = watch.started
    assert cluster.stop(sig) == 0
    assert watch.seconds < 10 * harness.PATIENCE
    report = client.stop()
    # Only this may fail: connecting after the drain delay, when nobody listens any more.
    bad = [failure for failure in report["failures"]
           if failure["what"] != "connect_refused" or failure["at"] < signalled_at + 1.0]
    assert not bad, bad[:10]
    kinds = report["kinds"]
    assert kinds["keepalive"]["answered"] > 64 and kinds["new"]["answered"] > 300
    assert kinds["keepalive"]["closed_after_notice"] == 64
    assert kinds["keepalive"]["connects"] - kinds["keepalive"]["connect_refused"] == 64
    counted = int(cluster.log_lines("stopped.*requests=")[-1].split("requests=")[1].split()[0])
    assert counted == report["answered"]


def test_idle_keepalive_connections_get_their_last_request_answered(make_cluster):
    """A request that was on its way when the drain began is answered, with Connection: close."""
    cluster = make_cluster(drain_delay="0s", drain_idle_grace="2s")
    connections = [cluster.connect() for _ in range(8)]
    for connection in connections:
        assert connection.request("GET", "/hello").status == 200
    cluster.send_signal(signal.SIGTERM)
    cluster.wait_log("no new connections")
    for connection in connections:
        answer = connection.request("GET", "/hello")
        assert answer.status == 200 and answer.headers["Connection"] == "close"
        assert connection.at_end()
        connection.close()
    assert cluster.wait_exit() == 0


def test_health_says_so_first(make_cluster):
    cluster = make_cluster(drain_delay="3s")
    with cluster.connect() as connection:
        assert connection.request("GET", "/health").status == 200
        cluster.send_signal(signal.SIGTERM)
        cluster.wait_log("draining")

        def draining():
            answer = cluster.get("/health")
            return answer.status == 503 and answer.json["status"] == "draining"
        harness.wait_until(draining, 2.5, "/health says draining")
        # New connections are still taken, and served.
        assert cluster.get("/hello").status == 200
        assert cluster.get("/health/ready").status == 503
        assert cluster.get("/health/live").status == 200
        assert cluster.management("GET", "/health").status == 503
        assert cluster.status()["state"] == "draining"
    assert cluster.wait_exit() == 0


def test_a_slow_answer_is_finished(big_files):
    cluster = big_files.start()
    with begin_download(cluster) as connection:
        cluster.send_signal(signal.SIGTERM)
        cluster.wait_log("no new connections")
        assert finish_download(connection) == BIG
    assert cluster.wait_exit() == 0
    assert "cut_connections=0" in cluster.log_lines("stopped")[-1]


def test_a_slow_request_is_finished(cluster):
    """Half a request has come when the drain begins: the other half is waited for."""
    with cluster.connect() as connection:
        connection.request("GET", "/hello")
        connection.send(b"GET /hello HTTP/1.1\r\nHo")
        cluster.send_signal(signal.SIGTERM)
        cluster.wait_log("no new connections")
        connection.send(b"st: x\r\n\r\n")
        assert connection.read_response().status == 200
        assert connection.at_end()
    assert cluster.wait_exit() == 0


def test_the_deadline_cuts_what_remains_and_counts_it(big_files):
    big_files.config["drain_timeout"] = "1s"
    cluster = big_files.start()
    with begin_download(cluster) as connection:
        watch = harness.Watch()
        assert cluster.stop() == 0
        assert 0.9 < watch.seconds < 5 * harness.PATIENCE
        assert finish_or_reset(connection) < BIG
    assert "cut_connections=1" in cluster.log_lines("stopped")[-1]


def finish_or_reset(connection):
    try:
        return finish_download(connection)
    except ConnectionResetError:
        return 0


@pytest.mark.parametrize("first, second", [(signal.SIGTERM, signal.SIGTERM),
                                           (signal.SIGINT, signal.SIGINT)])
def test_a_second_signal_cuts_at_once(big_files, first, second):
    big_files.config["drain_timeout"] = "60s"
    cluster = big_files.start()
    with begin_download(cluster) as connection:
        cluster.send_signal(first)
        cluster.wait_log("no new connections")
        watch = harness.Watch()
        cluster.send_signal(second)
        assert cluster.wait_exit() == 0
        assert watch.seconds < 4 * harness.PATIENCE
        assert finish_or_reset(connection) < BIG


def test_a_worker_that_dies_in_the_drain_ends_nothing(big_files):
    cluster = big_files.start()
    with begin_download(cluster):
        pids = cluster.worker_pids()
        cluster.send_signal(signal.SIGTERM)
        cluster.wait_log("no new connections")
        for pid in pids:
            harness.kill(pid)
    assert cluster.wait_exit() == 0
    assert not [line for line in cluster.log_lines("worker ready")
                if not any(f"pid={pid}" in line for pid in pids)]  # none was started again


@pytest.mark.limit(90)
def test_handshakes_that_take_long_are_completed(make_cluster):
    """Whose first packet was taken before the stop is served, also when its handshake needs longer
    than any grace period, as after a lost packet."""
    try:
        line = wire.Wire(round_trip_ms=1500)
    except wire.Unavailable as error:
        pytest.skip(f"no network namespaces here: {error}")
    with line:
        cluster = make_cluster(prefix=line.server, drain_delay="0s",
                               sections={("listen", "default"): {"address": line.address}})
        client = harness.Load((line.address, cluster.port), cluster.dir, "--new-rate", 40,
                              "--connect-timeout", 20, "--duration", 3, "--linger", 15,
                              prefix=line.client)
        try:
            # Handshakes are at every stage when the first connections have been accepted.
            harness.wait_until(
                lambda: cluster.metrics()["muster_connections_accepted_total"] > 0, 15)
            watch = harness.Watch()
            assert cluster.stop() == 0
            assert watch.seconds < 12 * harness.PATIENCE
            report = client.result()
        finally:
            client.kill()
    bad = [failure for failure in report["failures"] if failure["what"] != "connect_refused"]
    assert not bad, bad[:5]
    assert report["answered"] >= 40  # a second and a half of them


def test_musterctl_drains(cluster):
    result = cluster.musterctl("drain", "--no-wait")
    assert result.returncode == 0, result.stderr
    assert cluster.wait_exit() == 0


# ---- keep-alive connections that are used again at the worst moment ----

GRACE_MS = 400
REUSE_CLIENT = pathlib.Path(__file__).with_name("reuse_client.py")


def reuse(cluster, kind, offsets, change, prefix=()):
    """What became of connections used again `offsets` ms after `change`: [(offset, what)]."""
    client = subprocess.Popen(
        [*prefix, sys.executable, str(REUSE_CLIENT), cluster.config[("listen", "default")]["address"],
         str(cluster.port), kind, ",".join(map(str, offsets))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert client.stdout.readline() == "ready\n"
    client.stdin.write("go\n")
    client.stdin.flush()
    change()
    output, _ = client.communicate(timeout=40 * harness.PATIENCE)
    assert client.returncode == 0
    return json.loads(output)


def check_reuse(results, kind):
    """Answered or, too late for that, closed cleanly; never a reset and never half an answer."""
    outcomes = {what for _, what in results}
    assert outcomes <= {"answered", "closed", "closed (BrokenPipeError)"}, (kind, results)
    early = [what for offset, what in results if offset <= GRACE_MS / 2]
    assert early and set(early) == {"answered"}, (kind, results)


# From before the change to well after the grace, most of them around its end.
OFFSETS = [0, 50, 100, 200, *range(GRACE_MS - 60, GRACE_MS + 60, 4), GRACE_MS + 200]


@pytest.mark.parametrize("kind", ["whole", "half", "pipelined"])
def test_reused_connections_are_never_reset(make_cluster, kind):
    cluster = make_cluster(drain_idle_grace=f"{GRACE_MS}ms", canary_time="0s", workers=4)

    def scale_down():
        cluster.management("POST", "/scaling/manual?wait=0", {"instances": 1}, over_socket=True)

    def reload():
        cluster.send_signal(signal.SIGHUP)
    for change in (scale_down, reload):
        check_reuse(reuse(cluster, kind, OFFSETS, change), kind)
    assert not cluster.log_lines("connections cut")


@pytest.mark.parametrize("kind", ["whole", "half", "pipelined"])
def test_reused_connections_over_a_slow_line(make_cluster, kind):
    try:
        line = wire.Wire()
    except wire.Unavailable as error:
        pytest.skip(str(error))
    with line:
        cluster = make_cluster(start=False, prefix=line.server, canary_time="0s",
                               drain_idle_grace=f"{GRACE_MS}ms")
        cluster.config[("listen", "default")]["address"] = line.address
        cluster.start()
        results = reuse(cluster, kind, OFFSETS, lambda: cluster.send_signal(signal.SIGHUP),
                        line.client)
        check_reuse(results, kind)


# ---- what a drain tells ----

def test_what_a_draining_worker_waits_for(big_files):
    """In fields and in one sentence; with a deadline of its own for scaling down."""
    big_files.config.update(workers=2, scale_drain_timeout="30s", reload_drain_timeout="40s",
                            drain_idle_grace="20s", report_interval="100ms")
    cluster = big_files.start()
    idle = [cluster.connect() for _ in range(24)]
    for connection in idle:
        assert connection.request("GET", "/hello").status == 200
    busy = [begin_download(cluster) for _ in range(12)]  # some of them in slot 1
    busy.append(cluster.connect())
    busy[-1].send(b"GET /hel")
    assert cluster.musterctl("scale", "1").returncode == 0

    def draining():
        old = cluster.workers().get(1, {"draining": []})["draining"]
        return old and old[0]["in_flight"] > 0 and old[0]
    old = harness.wait_until(draining, 5, "slot 1 waits for a request")
    assert old["reason"] == "scale_down" and old["deadline_by"] == "scale_drain_timeout"
    assert 0 < old["deadline_in"] <= 30 and old["idle"] > 0
    assert f"waits for {old['in_flight']} request" in old["waits_for"], old["waits_for"]
    assert "within 20.0 s; cut in" in old["waits_for"]
    assert "waits for" in cluster.musterctl("workers").stdout
    cluster.write_config(scale_drain_timeout="1s")  # for the next one
    for connection in (*idle, *busy):
        connection.close()
    harness.wait_until(lambda: set(cluster.workers()) == {0}, 10, "the drain is over")


def test_an_obituary_tells_what_was_cut(big_files):
    big_files.config.update(workers=1, reload_drain_timeout="1s", canary_time="0s",
                            drain_idle_grace="20s")
    cluster = big_files.start()
    with begin_download(cluster), cluster.connect() as idle:
        assert idle.request("GET", "/hello").status == 200
        assert cluster.musterctl("reload").returncode == 0
        last = harness.wait_until(lambda: cluster.workers()[0]["last_exit"], 10, "it was cut")
        assert last["reason"] == "reload" and last["cut_requests"] == 1
        assert last["cut_connections"] == 2
        metrics = cluster.metrics()
        assert metrics["muster_drain_cut_connections_total"] == 1
        assert metrics["muster_drain_cut_idle_connections_total"] == 1
