# SPDX-License-Identifier: BSD-2-Clause
"""The management server: every route, who may do what, and clients that misbehave."""
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import threading

import pytest
from harness import PATIENCE, TOKEN, WORKER, Connection, Watch, free_port, wait_until

READS = ["/", "/cluster/status", "/cluster/workers/0", "/scaling/status", "/events", "/health",
         "/health/live", "/health/ready", "/health/performance", "/api/health", "/metrics"]
CHANGES = [("POST", "/cluster/workers/0/restart"), ("POST", "/cluster/reload"),
           ("POST", "/cluster/upgrade"), ("POST", "/cluster/drain"), ("POST", "/scaling/manual"), ("DELETE", "/scaling/manual")]


def error_of(response):
    """The message of an error, whose shape is checked."""
    body = response.json
    assert response.headers["Content-Type"] == "application/json"
    assert body["error"]["status"] == response.status
    return body["error"]["message"]


@pytest.fixture
def held_cluster(make_cluster):
    """A cluster whose workers start only while the file .hold is not there."""
    cluster = make_cluster(start=False)
    hold, starter = cluster.dir / "hold", cluster.dir / "starter"
    starter.write_text(f'#!/bin/sh\nwhile [ -e "{hold}" ]; do sleep 0.02; done\n'
                       f'exec "{WORKER}" "$@"\n')
    starter.chmod(0o755)
    cluster.write_config(worker_path=starter)
    cluster.hold = hold
    return cluster.start()


def wait_pending(cluster):
    """Waits until the replacement that a held restart asked for has been started."""
    return wait_until(lambda: cluster.workers()[0]["replacement"], 5, "a replacement is starting")


def runs_hot(cluster):
    """Whether the loop of the master turns more often than reports explain, over half a second."""
    before, watch = cluster.status()["master"]["wakeups"], Watch()
    wait_until(lambda: watch.seconds > 0.5)
    return cluster.status()["master"]["wakeups"] - before > 40


# ---- documents ----

@pytest.mark.parametrize("path", READS)
def test_reading_is_free_and_safe(shared_cluster, path):
    over_tcp = shared_cluster.management("GET", path, token=False)
    over_socket = shared_cluster.management("GET", path, over_socket=True)
    assert over_tcp.status == over_socket.status == 200
    for response in over_tcp, over_socket:
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert not [name for name in response.headers if name.lower().startswith("access-control")]
    kind = over_tcp.headers["Content-Type"]
    assert kind == over_socket.headers["Content-Type"]
    if kind == "application/json":
        assert list(over_tcp.json) == list(over_socket.json)  # the same keys, or the same list
    head = shared_cluster.management("HEAD", path, token=False)
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["Content-Length"]) > 0


def test_status(shared_cluster):
    status = shared_cluster.management("GET", "/cluster/status").json
    assert (status["state"], status["health"], status["generation"]) == ("running", "ok", 1)
    assert status["worker_counts"]["ready"] == status["worker_counts"]["desired"] == 2
    assert status["listeners"][0]["address"] == f"127.0.0.1:{shared_cluster.port}"
    assert status["listeners"][0]["slots"] == status["worker_counts"]["max"]
    assert status["master"]["pid"] == shared_cluster.process.pid
    assert [worker["slot"] for worker in status["workers"]] == [0, 1]
    for worker in status["workers"]:
        assert worker["state"] == "ready" and worker["connected"]
        os.kill(worker["pid"], 0)


def test_counts_requests(shared_cluster):
    before = shared_cluster.metrics()
    for _ in range(5):
        assert shared_cluster.get("/hello").status == 200
    name = 'muster_http_requests_total{code="200"}'
    wait_until(lambda: shared_cluster.metrics()[name] >= before[name] + 5, 5, "5 requests counted")
    status = shared_cluster.status()
    assert status["totals"]["requests"] >= 5
    assert status["latency_ms"]["since_start"]["count"] >= 5
    health = shared_cluster.management("GET", "/api/health").json
    assert health["performance"]["totalRequests"] >= 5
    assert health["queue"] == {"pending": 0, "workers": 0}


def test_worker(shared_cluster):
    worker = shared_cluster.management("GET", "/cluster/workers/1").json
    assert (worker["slot"], worker["state"]) == (1, "ready")
    assert worker["pid"] == shared_cluster.worker_pid(1)
    assert worker["obituaries"] == []
    unused = shared_cluster.management("GET", "/cluster/workers/3").json
    assert (unused["state"], unused["pid"]) == ("empty", None)
    for slot in "99", "abc", "-1", "1.0", "%31%31%31%31%31":
        response = shared_cluster.management("GET", f"/cluster/workers/{slot}")
        assert response.status == 404
        assert "there are 0 to " in error_of(response)


def test_health_formats(shared_cluster):
    plain = shared_cluster.management("GET", "/health")
    assert set(plain.json) == {"status", "healthy", "redis_connected", "active_connections",
                               "timestamp", "version", "workers_ready"}
    draft = shared_cluster.management("GET", "/health",
                                      headers={"Accept": "application/health+json"})
    assert draft.headers["Content-Type"] == "application/health+json"
    assert draft.json["status"] == "pass"
    assert draft.json["checks"]["workers:ready"][0]["observedValue"] == 2


def test_index_for_people(shared_cluster):
    text = shared_cluster.management("GET", "/").text
    page = shared_cluster.management("GET", "/", headers={"Accept": "text/html"})
    assert page.headers["Content-Type"].startswith("text/html")
    for path in READS[1:]:
        assert re.sub(r"\d", "{slot}", path) in text
    assert '<a href="/cluster/status">' in page.text


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_metrics_are_what_promtool_likes(shared_cluster):
    text = shared_cluster.management("GET", "/metrics").body
    check = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True,
                           check=False)
    assert (check.returncode, check.stdout + check.stderr) == (0, b"")


def check_openmetrics(text):
    """The rules of OpenMetrics 1.0 that a mistake here would break."""
    lines = text.split("\n")
    assert lines[-2:] == ["# EOF", ""] and text.count("# EOF") == 1
    suffixes = {"counter": ("_total",), "gauge": ("",), "info": ("_info",),
                "histogram": ("_bucket", "_sum", "_count")}
    families, samples, family, kind = {}, set(), None, None
    for line in lines[:-2]:
        if line.startswith("# "):
            _, what, name, *text = line.split(" ")
            if name != family:
                assert name not in families, f"{name} is in two places"
                assert not name.endswith(("_total", "_info"))
                family, families[name] = name, set()
            assert what in ("TYPE", "HELP") and what not in families[name] and text
            families[name].add(what)
            kind = text[0] if what == "TYPE" else kind
        else:
            sample, value = line.rsplit(" ", 1)
            float(value)
            name = sample.split("{")[0]
            assert name in {family + suffix for suffix in suffixes[kind]}, f"{name} in {family}"
            assert sample not in samples, f"{sample} comes twice"
            samples.add(sample)
    return families


def test_openmetrics(shared_cluster):
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
    response = shared_cluster.management("GET", "/metrics", headers={"Accept": accept})
    assert response.headers["Content-Type"].startswith("application/openmetrics-text")
    families = check_openmetrics(response.text)
    assert {"muster_http_requests", "muster_build", "messages_per_second"} <= set(families)


# ---- who may do what ----

@pytest.mark.parametrize("method, path", CHANGES)
def test_changes_need_the_token(shared_cluster, method, path):
    response = shared_cluster.management(method, path, token=False)
    assert response.status == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert "Bearer TOKEN" in error_of(response)
    for authorization in ("Bearer wrong", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer ",
                          f"Basic {TOKEN}", TOKEN):
        response = shared_cluster.management(method, path, token=False,
                                             headers={"Authorization": authorization})
        assert response.status == 401, authorization
        assert TOKEN not in response.text
    assert shared_cluster.status()["state"] == "running"


def test_without_a_token_only_the_socket_changes_anything(make_cluster):
    cluster = make_cluster(management={"token": ""})
    response = cluster.management("POST", "/scaling/manual", {"instances": 1})
    assert response.status == 403
    assert "no token is configured" in error_of(response)
    assert cluster.management("GET", "/health").status == 200
    response = cluster.management("POST", "/scaling/manual", {"instances": 1}, over_socket=True)
    assert response.status == 200
    # An empty secret equals nothing.
    response = cluster.management("POST", "/scaling/manual", {"instances": 2}, token=False,
                                  headers={"Authorization": "Bearer "})
    assert response.status == 403


@pytest.mark.parametrize("host, status", [
    ("localhost", 200), ("127.0.0.1:9001", 200), ("[::1]:9001", 200), ("192.0.2.7", 200),
    ("evil.example.com", 421), ("localhost.evil.com", 421), ("", 421)])
def test_foreign_hosts_are_refused(shared_cluster, host, status):
    with Connection(("127.0.0.1", shared_cluster.management_port)) as connection:
        connection.send(f"GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n")
        response = connection.read_response()
    assert response.status == status
    if status == 421:
        assert "allowed_hosts" in error_of(response)


def test_more_hosts_can_be_allowed(make_cluster):
    cluster = make_cluster(management={"allowed_hosts": "ops.example.com, node2"})
    for host, status in {"ops.example.com": 200, "NODE2:80": 200, "example.com": 421}.items():
        with Connection(("127.0.0.1", cluster.management_port)) as connection:
            connection.send(f"GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n")
            assert connection.read_response().status == status


def test_the_socket_does_not_ask_for_a_host(shared_cluster):
    with Connection(shared_cluster.management_socket) as connection:
        connection.send("GET /health HTTP/1.1\r\nHost: whatever.example\r\n\r\n")
        assert connection.read_response().status == 200


def test_a_request_without_host_is_refused(shared_cluster):
    for version in "1.1", "1.0":
        with Connection(("127.0.0.1", shared_cluster.management_port)) as connection:
            connection.send(f"GET /health HTTP/{version}\r\n\r\n")
            assert connection.read_response().status == 400


def test_the_socket_belongs_to_its_owner(shared_cluster):
    mode = shared_cluster.management_socket.stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_another_user_is_kept_out(shared_cluster):
    path = str(shared_cluster.management_socket)
    program = ("import os, socket, sys\nos.setgid(65534); os.setuid(65534)\n"
               "try: socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n"
               "except PermissionError: sys.exit(7)")
    before = shared_cluster.run_dir.stat().st_mode
    shared_cluster.run_dir.chmod(0o755)  # so that only the socket itself is in the way
    try:
        result = subprocess.run(["python3", "-c", program, path], check=False)
    finally:
        shared_cluster.run_dir.chmod(stat.S_IMODE(before))
    assert result.returncode == 7


def test_beyond_loopback_everything_needs_the_token(make_cluster):
    cluster = make_cluster(management={"address": "0.0.0.0"})
    for path in "/health", "/metrics", "/nothing":
        assert cluster.management("GET", path, token=False).status == 401
    assert cluster.management("GET", "/health").status == 200


# ---- requests that are wrong ----

def test_not_found_names_what_is_near(shared_cluster):
    response = shared_cluster.management("GET", "/cluster/statu")
    assert response.status == 404
    assert "/cluster/statu" in error_of(response)
    assert response.json["error"]["routes"] == ["GET /cluster/status"]
    everything = shared_cluster.management("GET", "/nothing").json["error"]["routes"]
    assert len(everything) == len(READS) + len(CHANGES)


@pytest.mark.parametrize("method, path, allow", [
    ("POST", "/health", "GET, HEAD"), ("PUT", "/cluster/status", "GET, HEAD"),
    ("GET", "/cluster/reload", "POST"), ("GET", "/scaling/manual", "POST, DELETE"),
    ("OPTIONS", "/scaling/manual", "POST, DELETE"), ("PATCH", "/cluster/workers/0", "GET, HEAD")])
def test_wrong_method(shared_cluster, method, path, allow):
    response = shared_cluster.management(method, path)
    assert (response.status, response.headers["Allow"]) == (405, allow)
    assert allow in error_of(response)


@pytest.mark.parametrize("body, says", [
    (b"{", "not JSON: line 1"), (b"[]", "must be an object"), (b"{}", '"instances" is missing'),
    (b'{"instances": 0}', "min_workers"), (b'{"instances": 99}', "max_workers"),
    (b'{"instances": "2"}', "is a string"), (b'{"instances": 1.5}', "fraction"),
    (b'{"instance": 2}', "known here: instances, reason, for"),
    (b'{"instances": 2, "instances": 3}', "duplicate"),
    (b'{"instances": 2, "for": "10"}', "has no unit"), (b"\xff\xfe", "not JSON"),
    (b'{"instances": 2, "reason": "' + b"x" * 300 + b'"}', "255 at most"),
    (b"[" * 30000, "not JSON")])
def test_wrong_bodies(shared_cluster, body, says):
    response = shared_cluster.management("POST", "/scaling/manual", body)
    assert response.status == 400
    assert says in error_of(response)
    assert shared_cluster.status()["manual"] is None


@pytest.mark.parametrize("query, says", [("?wait=maybe", "wait must be"), ("?wait", "wait must be"),
                                         ("?wiat=0", '"wiat"')])
def test_wrong_query(shared_cluster, query, says):
    response = shared_cluster.management("POST", "/cluster/reload" + query)
    assert response.status == 400 and says in error_of(response)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded",
                                  "multipart/form-data; boundary=x", "application/jsonp"])
def test_bodies_must_be_json(shared_cluster, kind):
    response = shared_cluster.management("POST", "/scaling/manual", b'{"instances":2}',
                                         {"Content-Type": kind})
    assert response.status == 415 and "application/json" in error_of(response)


def test_a_body_of_no_type_is_refused(shared_cluster):
    with Connection(shared_cluster.management_socket) as connection:
        connection.send("POST /scaling/manual HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n"
                        '{"instances":2}')
        assert connection.read_response().status == 415


def test_large_bodies_are_refused(shared_cluster):
    body = b'{"reason": "' + b"x" * 70000 + b'"}'
    response = shared_cluster.management("POST", "/cluster/reload", body)
    assert response.status == 413 and "65536 bytes" in error_of(response)
    with Connection(shared_cluster.management_socket) as connection:
        connection.send("POST /cluster/reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                        "Content-Type: application/json\r\n\r\n")
        for _ in range(10):
            connection.send(b"2000\r\n" + b" " * 8192 + b"\r\n")
        connection.send("0\r\n\r\n")
        response = connection.read_response()
    assert response.status == 413
    assert shared_cluster.status()["generation"] == 1


def test_a_body_without_end_is_cut(shared_cluster):
    with Connection(shared_cluster.management_socket) as connection:
        connection.send("POST /cluster/reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                        "Content-Type: application/json\r\n\r\n")
        with pytest.raises(OSError):
            for _ in range(10000):
                connection.send(b"2000\r\n" + b" " * 8192 + b"\r\n")


def test_garbage_does_no_harm(shared_cluster):
    for garbage in (b"\0" * 1000, b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01",
                    b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 9000,
                    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n"):
        with Connection(("127.0.0.1", shared_cluster.management_port), timeout=3) as connection:
            try:
                connection.send(garbage)
                connection.sock.shutdown(socket.SHUT_WR)
                connection.sock.recv(4096)
            except OSError:
                pass
    assert shared_cluster.management("GET", "/health").status == 200


# ---- changes ----

def test_restart_replaces_one_worker(cluster):
    before = {slot: worker["pid"] for slot, worker in cluster.workers().items()}
    response = cluster.management("POST", "/cluster/workers/1/restart", {"reason": "it leaks"})
    assert response.status == 200
    answer = response.json
    assert answer["ok"] and answer["done"] and answer["command"] == "restart"
    assert str(before[1]) in answer["from"] and str(before[1]) not in answer["to"]
    workers = cluster.workers()
    assert workers[0]["pid"] == before[0]
    assert workers[1]["pid"] != before[1] and workers[1]["state"] == "ready"
    dead = wait_until(lambda: cluster.management("GET", "/cluster/workers/1").json["obituaries"])
    assert (dead[0]["pid"], dead[0]["reason"], dead[0]["exit_code"]) == (before[1], "restart", 0)
    response = cluster.management("POST", "/cluster/workers/99/restart")
    assert response.status == 404 and "there are 0 to " in error_of(response)
    line = cluster.wait_log(r"change .*what=restart")[0]
    assert 'who="token from 127.0.0.1"' in line and "result=done" in line and "it leaks" in line


def test_scaling_by_hand(cluster):
    response = cluster.management("POST", "/scaling/manual",
                                  {"instances": 3, "reason": "a sale", "for": "30m"})
    assert response.status == 200 and "2" in response.json["from"] and "3" in response.json["to"]
    scaling = cluster.management("GET", "/scaling/status").json
    assert (scaling["mode"], scaling["current"], scaling["desired"]) == ("manual", 3, 3)
    assert scaling["manual"]["reason"] == "a sale"
    assert 1700 < scaling["manual"]["remaining"] <= 1800
    assert "127.0.0.1" in scaling["manual"]["who"]
    assert cluster.management("DELETE", "/scaling/manual").status == 200
    scaling = cluster.management("GET", "/scaling/status").json
    assert (scaling["mode"], scaling["desired"], scaling["manual"]) == ("fixed", 2, None)
    assert (scaling["rules"], scaling["decisions"]) == ([], [])


def test_scaling_by_hand_ends_by_itself(cluster):
    assert cluster.management("POST", "/scaling/manual",
                              {"instances": 1, "for": "1s"}).status == 200
    assert cluster.status()["worker_counts"]["desired"] == 1
    wait_until(lambda: cluster.status()["manual"] is None, 10, "the override ends")
    wait_until(lambda: cluster.status()["worker_counts"]["ready"] == 2, 10, "two workers again")


def test_reload(cluster):
    before = set(cluster.worker_pids())
    response = cluster.management("POST", "/cluster/reload", over_socket=True)
    assert response.status == 200, response.text
    assert response.json["to"] == "generation 2"
    status = cluster.status()
    assert status["generation"] == 2 and not status["reload"]["failed"]
    assert not before & {worker["pid"] for worker in status["workers"]}
    assert cluster.log_lines(r"change .*what=reload .*result=done")


def test_reload_of_a_wrong_configuration_says_where(cluster):
    before = cluster.worker_pids()
    text = cluster.config_path.read_text()
    cluster.config_path.write_text(text + "wrokers = 3\n")
    response = cluster.management("POST", "/cluster/reload")
    assert response.status >= 400
    message = error_of(response)
    assert f"{cluster.config_path}:{len(text.splitlines()) + 1}" in message
    assert "wrokers" in message
    assert cluster.worker_pids() == before
    assert cluster.log_lines(r"change .*what=reload .*result=failed")


def test_a_new_token_counts_after_a_reload(cluster):
    cluster.write_config(management={"token": "another-token-of-some-length"})
    assert cluster.management("POST", "/cluster/reload").status == 200
    assert cluster.management("POST", "/scaling/manual", {"instances": 1}).status == 401
    cluster.token = "another-token-of-some-length"
    assert cluster.management("POST", "/scaling/manual", {"instances": 1}).status == 200


def test_drain_ends_the_master(make_cluster):
    cluster = make_cluster(drain_delay="1500ms")
    response = cluster.management("POST", "/cluster/drain", over_socket=True)
    assert response.status == 202 and not response.json["done"]
    health = cluster.management("GET", "/health")
    assert (health.status, health.json["status"]) == (503, "draining")
    assert cluster.management("GET", "/health/live").status == 200
    response = cluster.management("POST", "/scaling/manual", {"instances": 1})
    assert response.status == 503 and "stopping" in error_of(response)
    assert cluster.wait_exit() == 0
    assert not cluster.management_socket.exists()


def test_without_waiting_the_answer_is_202(held_cluster):
    before = held_cluster.worker_pid(0)
    held_cluster.hold.touch()
    response = held_cluster.management("POST", "/cluster/workers/0/restart?wait=0")
    assert response.status == 202
    assert response.json["done"] is False and "/cluster/status" in response.json["message"]
    wait_pending(held_cluster)
    assert held_cluster.worker_pid(0) == before
    held_cluster.hold.unlink()
    held_cluster.wait_replaced(0, before)
    held_cluster.wait_log(r"change .*what=restart .*result=done")


# ---- clients that wait, and clients that do not ----

def test_a_change_is_waited_for(held_cluster):
    held_cluster.hold.touch()
    answers = []
    waiter = threading.Thread(target=lambda: answers.append(
        held_cluster.management("POST", "/cluster/workers/0/restart")))
    waiter.start()
    wait_pending(held_cluster)
    assert not runs_hot(held_cluster)  # the one that waits costs nothing
    assert not answers
    held_cluster.hold.unlink()
    waiter.join(10 * PATIENCE)
    assert answers and answers[0].status == 200


@pytest.mark.parametrize("over_socket", [True, False])
@pytest.mark.parametrize("reset", [True, False])
def test_a_client_that_leaves_while_it_waits(held_cluster, over_socket, reset):
    before = held_cluster.worker_pid(0)
    held_cluster.hold.touch()
    address = (held_cluster.management_socket if over_socket
               else ("127.0.0.1", held_cluster.management_port))
    connection = Connection(address)
    connection.send("POST /cluster/workers/0/restart HTTP/1.1\r\nHost: localhost\r\n"
                    f"Authorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n\r\n")
    wait_pending(held_cluster)
    if reset and not over_socket:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()
    held_cluster.wait_log("a client did not wait")
    assert not runs_hot(held_cluster)
    held_cluster.hold.unlink()
    held_cluster.wait_replaced(0, before)
    held_cluster.wait_log(r"change .*what=restart .*result=done")


def test_a_request_behind_one_that_waits(held_cluster):
    held_cluster.hold.touch()
    with Connection(held_cluster.management_socket) as connection:
        connection.send("POST /cluster/workers/0/restart HTTP/1.1\r\nHost: x\r\n"
                        "Content-Length: 0\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_pending(held_cluster)
        connection.send("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        held_cluster.hold.unlink()
        assert connection.read_response().json["command"] == "restart"
        assert connection.read_response().json["healthy"]
        assert connection.read_response().json["live"]


def test_the_end_of_the_master_answers_those_who_wait(held_cluster):
    held_cluster.hold.touch()
    answers = []
    waiter = threading.Thread(target=lambda: answers.append(
        held_cluster.management("POST", "/cluster/workers/0/restart")))
    waiter.start()
    wait_pending(held_cluster)
    held_cluster.send_signal(signal.SIGTERM)
    waiter.join(10 * PATIENCE)
    held_cluster.hold.unlink()
    assert answers and answers[0].status == 503
    assert held_cluster.wait_exit() == 0


def test_too_many_changes_at_once(held_cluster):
    held_cluster.hold.touch()
    statuses = [held_cluster.management("POST", "/cluster/workers/0/restart?wait=0").status
                for _ in range(34)]
    assert statuses == [202] * 32 + [503] * 2
    held_cluster.hold.unlink()
    held_cluster.wait_log(r"change .*what=restart .*result=done", count=32)
    assert held_cluster.management("POST", "/cluster/workers/0/restart").status == 200


def test_slow_clients_delay_nobody(shared_cluster):
    slow = []
    try:
        for address in ("127.0.0.1", shared_cluster.management_port), shared_cluster.management_socket:
            for begin in (b"", b"GET /hea", b"GET /cluster/status HTTP/1.1\r\nHost: local",
                          b"POST /scaling/manual HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n"
                          b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
                          b"Content-Type: application/json\r\n\r\n{"):
                slow.append(Connection(address))
                slow[-1].send(begin)
        # One that asks a lot and reads nothing.
        slow.append(Connection(("127.0.0.1", shared_cluster.management_port)))
        slow[-1].send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400)
        watch = Watch()
        for _ in range(20):
            for over_socket in True, False:
                assert shared_cluster.management("GET", "/health", over_socket=over_socket).status == 200
        assert watch.seconds < 2 * PATIENCE
        wait_until(lambda: not runs_hot(shared_cluster), 10, "it waits for the slow clients")
    finally:
        for connection in slow:
            connection.close()


def test_the_socket_answers_when_the_port_is_full(make_cluster):
    cluster = make_cluster(management={"max_connections": 4})
    address = ("127.0.0.1", cluster.management_port)
    idle = [Connection(address) for _ in range(4)]
    try:
        for connection in idle:
            connection.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.read_response().status == 200
        with Connection(address, timeout=0.5) as late:
            late.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with pytest.raises(OSError):
                late.read_response()
            assert cluster.management("GET", "/health", over_socket=True).status == 200
    finally:
        # All at once: the server sees the ends of all of them in one turn.
        cluster.send_signal(signal.SIGSTOP)
        for connection in idle:
            connection.close()
        cluster.send_signal(signal.SIGCONT)
    assert cluster.management("GET", "/health").status == 200


def test_a_connection_takes_many_requests(shared_cluster):
    with Connection(("127.0.0.1", shared_cluster.management_port)) as connection:
        for path in READS * 3:
            assert connection.request("GET", path).status == 200
        # Refusals keep it open as well.
        assert connection.request("GET", "/nothing").status == 404
        assert connection.request("POST", "/health").status == 405
        assert connection.request("GET", "/health").status == 200


# ---- the start ----

def test_a_taken_port_is_explained(make_cluster):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        cluster = make_cluster(start=False, management={"port": port})
        cluster.spawn()
        cluster.expect_status = cluster.wait_exit()
        assert cluster.expect_status != 0
        assert f"127.0.0.1:{port}: address already in use, held by pid {os.getpid()} (" in cluster.log_text()


def test_beyond_loopback_a_token_is_needed_at_the_start(make_cluster):
    cluster = make_cluster(start=False, management={"address": "0.0.0.0", "token": ""})
    result = cluster.run()
    assert result.returncode != 0
    assert "token" in result.stdout + result.stderr


def test_without_a_port_there_is_the_socket(make_cluster):
    cluster = make_cluster(management={"enabled": False})
    with pytest.raises(ConnectionRefusedError):
        cluster.management("GET", "/health")
    assert cluster.management("GET", "/health", over_socket=True).status == 200


def test_a_leftover_socket_is_replaced(make_cluster):
    cluster = make_cluster(start=False)
    cluster.run_dir.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as leftover:
        leftover.bind(str(cluster.management_socket))
    cluster.start()
    assert cluster.management("GET", "/health", over_socket=True).status == 200


def test_ipv6(make_cluster):
    try:
        with socket.create_server(("::1", free_port()), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("no IPv6 here")
    cluster = make_cluster(management={"address": "::1"})
    with Connection(("::1", cluster.management_port)) as connection:
        assert connection.request("GET", "/health").status == 200


def test_secrets_stay_out_of_log_and_documents(cluster):
    cluster.management("POST", "/scaling/manual", {"instances": 2}, token=False,
                       headers={"Authorization": "Bearer a-wrong-guess"})
    cluster.management("POST", "/scaling/manual", {"instances": 2})
    everything = cluster.log_text() + json.dumps(cluster.status())
    assert TOKEN not in everything and "a-wrong-guess" not in everything
    assert cluster.log_lines("management request refused .*status=401")
