# SPDX-License-Identifier: BSD-2-Clause
"""HTTP over real sockets: what the parser's own tests cannot see, deadlines and limits above all."""
import contextlib
import http.client
import os
import re
import socket

import harness
import pytest
from conftest import Factory

FILE_SIZE = 3 << 20


@pytest.fixture(scope="module")
def http_cluster():
    """Short deadlines and small limits; a directory with files."""
    factory = Factory()
    cluster = factory(start=False, workers=1,
                      http={"header_timeout": "600ms", "keepalive_timeout": "1s",
                            "body_timeout": "600ms", "request_timeout": "3s",
                            "max_body_bytes": "64k"})
    files = cluster.dir / "files"
    files.mkdir()
    (files / "big.bin").write_bytes(os.urandom(FILE_SIZE))
    (files / "page.html").write_text("<p>hello</p>\n")
    (files / "empty.txt").write_bytes(b"")
    cluster.config[("route", "/files/")] = {"root": files}
    yield cluster.start()
    factory.close()


def test_keepalive_and_date(http_cluster):
    with http_cluster.connect() as connection:
        for _ in range(5):
            answer = connection.request("GET", "/hello")
            assert (answer.status, answer.text) == (200, "hello\n")
            assert answer.headers["Connection"] in (None, "keep-alive")
            assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT",
                                answer.headers["Date"])
            assert answer.headers["Content-Type"].startswith("text/plain")


def test_close_is_honoured(http_cluster):
    with http_cluster.connect() as connection:
        answer = connection.request("GET", "/hello", {"Connection": "close"})
        assert answer.headers["Connection"] == "close" and connection.at_end()
    with http_cluster.connect() as connection:
        connection.send(b"GET /hello HTTP/1.0\r\n\r\n")
        assert connection.read_response().status == 200
        assert connection.at_end()
    with http_cluster.connect() as connection:
        connection.send(b"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert connection.read_response().headers["Connection"] == "keep-alive"
        assert connection.request("GET", "/hello").status == 200


@pytest.mark.parametrize("count", [2, 100, 3000])
def test_pipelining(http_cluster, count):
    """All answers, in order, also when there are more than fit into any buffer."""
    request = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\nGET /none HTTP/1.1\r\nHost: x\r\n\r\n"
    with http_cluster.connect() as connection:
        connection.sock.setblocking(True)
        with harness.sending(connection.sock, request * count):
            for _ in range(count):
                assert connection.read_response().status == 200
                assert connection.read_response().status == 404
        assert connection.request("GET", "/hello").status == 200


def test_head_has_the_headers_and_no_body(http_cluster):
    with http_cluster.connect() as connection:
        for path, size in (("/hello", 6), ("/files/big.bin", FILE_SIZE)):
            head = connection.request("HEAD", path)
            assert head.status == 200 and head.body == b""
            assert int(head.headers["Content-Length"]) == size
        assert connection.request("GET", "/hello").text == "hello\n"


def test_expect_100_continue(http_cluster):
    with http_cluster.connect() as connection:
        connection.send(b"POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
                        b"Expect: 100-continue\r\n\r\n")
        line = connection.file.readline()
        if b" 100 " in line:  # it wants the body; else it has refused without reading it
            assert connection.file.readline() == b"\r\n"
            connection.send(b"abc")
            line = connection.file.readline()
        assert re.match(rb"HTTP/1\.1 (200|405|417) ", line)


@pytest.mark.parametrize("method, path, status", [
    ("GET", "/nothing-here", 404), ("DELETE", "/hello", 405), ("POST", "/hello", 405),
    ("GET", "/files/", 404), ("GET", "/files/../muster.conf", 404),
    ("GET", "/files/%2e%2e/muster.conf", 404), ("GET", "/files/none", 404),
])
def test_plain_refusals(http_cluster, method, path, status):
    with http_cluster.connect() as connection:
        answer = connection.request(method, path)
        assert answer.status == status or (status == 404 and answer.status in (400, 403))
        if status == 405:
            assert "GET" in answer.headers["Allow"]
        assert "muster.conf" not in answer.text and http_cluster.token not in answer.text


@pytest.mark.parametrize("head, status", [
    (b"GET /hello HTTP/1.1\r\n\r\n", 400),  # no Host
    (b"GET /hello HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    (b"GET /hello HTTP/1.1\nHost: x\n\n", 400),  # bare LF
    (b"POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    (b"POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
     400),
    (b"POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n", 413),
    (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    (b"GET /hello HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
    (b"GET /hello HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n", 417),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # TLS on a plain port
])
def test_malformed_requests_are_answered_and_the_connection_closed(http_cluster, head, status):
    with http_cluster.connect() as connection:
        connection.send(head)
        answer = connection.read_response()
        assert answer.status == status
        assert status == 417 or (answer.headers["Connection"] == "close" and connection.at_end())


def test_a_slow_loris_is_cut(http_cluster):
    """A header byte now and then does not keep a connection."""
    watch = harness.Watch()
    with http_cluster.connect() as connection:
        connection.send(b"GET /hello HTTP/1.1\r\nHost: x\r\n")

        def cut():
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.send(b"X")
                connection.sock.setblocking(False)
                try:
                    return connection.sock.recv(65536)
                except BlockingIOError:
                    return None
                finally:
                    connection.sock.setblocking(True)
            return b"reset"
        answer = harness.wait_until(cut, 3, "it is cut", interval=0.05)
    assert answer == b"reset" or b" 408 " in answer
    assert 0.4 < watch.seconds < 2.5 * harness.PATIENCE


def test_a_body_that_does_not_come_is_cut(http_cluster):
    with http_cluster.connect() as connection:
        connection.send(b"POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        first = connection.read_response()
        assert first.status in (405, 408)  # refused early, or waited for in vain
        assert connection.at_end()


def test_an_idle_connection_is_closed_in_time(http_cluster):
    with http_cluster.connect() as connection:
        assert connection.request("GET", "/hello").status == 200
        watch = harness.Watch()
        assert connection.at_end()
        assert 0.8 < watch.seconds < 3 * harness.PATIENCE


def test_a_connection_that_says_nothing_is_closed(http_cluster):
    with http_cluster.connect() as connection:
        watch = harness.Watch()
        assert connection.at_end()
        assert watch.seconds < 4 * harness.PATIENCE


def test_a_big_file(http_cluster):
    content = (http_cluster.dir / "files/big.bin").read_bytes()
    with http_cluster.connect() as connection:
        answer = connection.request("GET", "/files/big.bin")
        assert answer.status == 200 and answer.body == content
        assert connection.request("GET", "/files/page.html").headers["Content-Type"].startswith(
            "text/html")
        assert connection.request("GET", "/files/empty.txt").body == b""


def test_a_client_that_goes_away_in_the_middle(http_cluster):
    for _ in range(20):
        connection = http_cluster.connect()
        connection.send(b"GET /files/big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.file.read(1000)
        connection.close()
    # What workers report is up to an interval old: 0 connections may be from before the test.
    harness.wait_until(lambda: http_cluster.metrics()["muster_http_requests_aborted_total"] >= 1, 5,
                       "the requests are counted as aborted")
    harness.wait_until(
        lambda: http_cluster.metrics()['muster_connections_active{kind="http"}'] == 0, 5,
        "no connection is left")


def test_an_idle_connection_costs_no_buffer(http_cluster):
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            connection = stack.enter_context(http_cluster.connect())
            assert connection.request("GET", "/hello").status == 200
        resident = harness.process_stat(http_cluster.worker_pid(0))[21]
        assert int(resident) * 4096 < (32 << 20) or harness.SANITIZE


def test_max_connections_pauses_and_fails_nobody(make_cluster):
    cluster = make_cluster(workers=1, max_connections=10)
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(cluster.connect()) for _ in range(10)]
        for connection in held:
            assert connection.request("GET", "/hello").status == 200
        # More may connect; they wait and are answered as soon as others leave.
        waiting = [stack.enter_context(cluster.connect()) for _ in range(5)]
        for connection in waiting:
            connection.send(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        harness.wait_until(lambda: cluster.metrics()["muster_accept_pauses_total"] >= 1, 5,
                           "accepting is paused")
        for connection in waiting:
            assert not readable(connection.sock)
        for connection in held[:5]:
            connection.close()
        for connection in waiting:
            assert connection.read_response().status == 200


def readable(sock):
    sock.setblocking(False)
    try:
        return sock.recv(1, socket.MSG_PEEK) is not None
    except BlockingIOError:
        return False
    finally:
        sock.settimeout(10 * harness.PATIENCE)


def test_running_out_of_descriptors(make_cluster):
    """EMFILE: no spinning, and everything goes on when there are descriptors again."""
    cluster = make_cluster(workers=1, open_files=64, max_connections=64)
    pid = cluster.worker_pid(0)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(cluster.connect()) for _ in range(120)]
        for connection in connections:
            connection.send(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        for connection in connections[:20]:
            assert connection.read_response().status == 200
        watch, before = harness.Watch(), harness.cpu_seconds(pid)
        harness.wait_until(lambda: watch.seconds > 1, 5)
        assert harness.cpu_seconds(pid) - before < 0.2 * harness.PATIENCE, "it spins"
        served = sum(readable(connection.sock) for connection in connections[20:])
        assert served < 64 - 20
        # Each that leaves makes room for one that waits.
        for connection in connections[:20]:
            connection.close()
        for connection in connections[20:]:
            assert connection.read_response().status == 200
            connection.close()
    assert cluster.worker_pid(0) == pid
    assert cluster.metrics()["muster_accept_pauses_total"] >= 1


def test_request_and_chunked_bodies_on_one_connection(http_cluster):
    """A body that nobody wants is read or the connection is closed: the next request is never
    taken from inside of it."""
    body = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    for head, data in ((b"Content-Length: %d\r\n" % len(body), body),
                       (b"Transfer-Encoding: chunked\r\n", chunked)):
        with http_cluster.connect() as connection:
            connection.send(b"POST /hello HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n" + data +
                            b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
            first = connection.read_response()
            assert first.status == 405
            try:
                assert connection.read_response().text == "hello\n"
            except (ConnectionError, http.client.HTTPException):
                assert first.headers["Connection"] == "close"


def test_health_in_all_its_forms(http_cluster):
    health = http_cluster.get("/health")
    assert health.status == 200 and health.headers["Content-Type"].startswith("application/json")
    assert {"status", "healthy", "redis_connected", "active_connections", "timestamp", "version",
            "workers_ready"} <= set(health.json)
    assert health.json["status"] == "ok" and health.json["redis_connected"] is None
    draft = http_cluster.get("/health", {"Accept": "application/health+json"})
    assert draft.headers["Content-Type"].startswith("application/health+json")
    assert draft.json["status"] == "pass"
    assert http_cluster.get("/health/live").status == 200
    assert http_cluster.get("/health/ready").status == 200
    api = http_cluster.get("/api/health").json
    assert {"avgResponseTime", "errorRate", "totalRequests"} <= set(api["performance"])
    assert api["queue"] == {"pending": 0, "workers": 0}
    assert http_cluster.get("/health/performance").status == 401
    performance = http_cluster.get("/health/performance",
                                   {"Authorization": f"Bearer {http_cluster.token}"})
    assert performance.status == 200 and "latency_ms" in performance.json["total"]
    assert http_cluster.get("/health/performance",
                            {"Authorization": "Bearer wrong-wrong-wrong"}).status in (401, 403)
