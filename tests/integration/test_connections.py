# SPDX-License-Identifier: BSD-2-Clause
"""Connections that end, wait or ask in ways of their own, against a running cluster."""
import signal

import harness
import pytest
from conftest import Factory


@pytest.fixture(scope="module")
def root_cluster():
    factory = Factory()
    cluster = factory(start=False, workers=1)
    files = cluster.dir / "files"
    (files / "sub").mkdir(parents=True)
    (files / "index.html").write_text("index\n")
    (files / "f.txt").write_text("file\n")
    (files / "sub" / "x").write_text("below\n")
    (files / "metrics").write_text("not this\n")
    cluster.config[("route", "/")] = {"root": files}
    yield cluster.start()
    factory.close()


@pytest.mark.parametrize("path, status, body", [
    ("/", 200, "index\n"), ("/f.txt", 200, "file\n"), ("/sub/x", 200, "below\n"),
    ("/sub", 301, None), ("/sub/none", 404, None), ("/health/none", 404, None),
    ("/hello", 200, "hello\n"), ("/health", 200, None), ("/metrics", 200, None),
    ("/api/health", 200, None),
])
def test_a_directory_at_the_root(root_cluster, path, status, body):
    """It answers for everything that has no other answer, and for nothing else."""
    answer = root_cluster.get(path)
    assert answer.status == status
    assert body is None or answer.text == body
    assert path not in ("/health", "/metrics", "/api/health") or answer.headers["ETag"] is None


def test_a_target_without_a_path(root_cluster):
    with root_cluster.connect() as connection:
        connection.send(b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.read_response().text == "index\n"


def test_a_text_at_the_root(make_cluster):
    cluster = make_cluster(sections={("route", "/"): {"text": "root\n"}})
    assert cluster.get("/").text == "root\n"
    assert cluster.get("/f.txt").status == 404


@pytest.mark.limit(60)
def test_stopping_answers_what_waits_for_room(make_cluster):
    """A worker at its limit of connections takes the others from the queue as it gets room."""
    cluster = make_cluster(workers=1, max_connections=1, drain_delay="300ms", drain_timeout="20s")
    first = cluster.connect()
    first.send(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\nPOST /hello HTTP/1.1\r\nHost: x\r\n"
               b"Content-Length: 5\r\n\r\nab")
    assert first.read_response().status == 200
    queued = [cluster.connect() for _ in range(3)]
    for connection in queued:
        connection.send(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
    watch = harness.Watch()
    cluster.send_signal(signal.SIGTERM)
    harness.wait_until(lambda: watch.seconds > 1.0, what="the grace period is over")
    first.send(b"cde")
    assert first.read_response().status == 405
    for connection in queued:
        answer = connection.read_response()
        assert answer.status == 200 and answer.headers["Connection"] == "close"
        connection.close()
    first.close()
    assert cluster.wait_exit() == 0
    assert watch.seconds < 8 * harness.PATIENCE


def test_a_client_that_sends_all_of_a_refused_body_reads_the_refusal(make_cluster):
    cluster = make_cluster(workers=1, http={"max_body_bytes": "64k"})
    with cluster.connect() as connection:
        answer = connection.request("POST", "/hello", body=b"x" * (3 << 20))
        assert answer.status == 413
        assert connection.at_end()
