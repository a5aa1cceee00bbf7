# SPDX-License-Identifier: BSD-2-Clause
"""The load client counts each kind of failure as what it is: everything that other tests and the
benchmarks claim rests on that. The servers here are scripted to misbehave."""
import contextlib
import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import threading

import harness
import pytest
import wire

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n"
LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\nhello\n"


@contextlib.contextmanager
def serve(script):
    """Runs script(socket, n) for the n-th connection, in a thread each."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)

        def handle(client, n):
            with client:
                with contextlib.suppress(OSError):
                    script(client, n)

        def accept():
            with contextlib.suppress(OSError):
                for n in range(1000000):
                    client, _ = listener.accept()
                    threading.Thread(target=handle, args=(client, n), daemon=True).start()
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def loadgen(port, *args):
    output = subprocess.run(
        [str(harness.TOOLS_DIR / "loadgen"), "--port", str(port), "--expect-body-bytes", "6",
         *map(str, args)], stdout=subprocess.PIPE, timeout=30, check=True).stdout
    return json.loads(output)


def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def read_request(client):
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        piece = client.recv(65536)
        if not piece:
            raise OSError("the client is gone")
        data += piece
    return data


def answering(client, _):
    while True:
        closing = b"Connection: close" in read_request(client)
        client.sendall(LAST if closing else ANSWER)
        if closing:
            return


def once_then(action):
    """The first connection: one answer, then what is to be seen; later ones are good."""
    def script(client, n):
        if n > 0:
            answering(client, n)
        read_request(client)
        client.sendall(ANSWER)
        read_request(client)
        action(client)
    return script


def at_once(action):
    def script(client, n):
        if n > 0:
            answering(client, n)
        read_request(client)
        action(client)
    return script


def wait_for_ever(client):
    client.recv(1)


def say(client, answer):
    client.sendall(answer)
    answering(client, 0)


@pytest.mark.parametrize("outcome, script", [
    ("failed_in_flight_eof", once_then(lambda client: None)),
    ("failed_in_flight_reset", once_then(reset)),
    ("first_request_eof", at_once(lambda client: None)),
    ("first_request_reset", at_once(reset)),
    ("short_answer_eof", at_once(lambda client: client.sendall(ANSWER[:-1]))),
    ("short_answer_eof", at_once(lambda client: client.sendall(ANSWER[:20]))),
    ("wrong_status", at_once(lambda client: say(client, ANSWER.replace(b"200", b"503")))),
    ("wrong_body", at_once(lambda client: say(client, ANSWER.replace(b"6", b"7") + b"!"))),
    ("malformed", at_once(lambda client: client.sendall(b"SSH-2.0-server\r\n\r\n\r\n"))),
    ("malformed", at_once(lambda client: client.sendall(ANSWER + b"more"))),
    ("answer_timeout", at_once(wait_for_ever)),
])
def test_each_failure_is_counted_as_what_it_is(outcome, script):
    with serve(script) as port:
        report = loadgen(port, "--keepalive", 1, "--rate", 100, "--answer-timeout", 0.2,
                         "--duration", 0.5, "--track-pid")
    counts = report["kinds"]["keepalive"]
    assert counts[outcome] == 1, counts
    failed = [failure for failure in report["failures"] if failure["what"] != "closed_idle"]
    assert [failure["what"] for failure in failed] == [outcome]
    assert failed[0]["port"] > 0
    assert counts["failed"] == 1
    assert counts["answered"] > 10  # it went on, on a new connection


def test_everything_is_answered_in_every_mode():
    with serve(answering) as port:
        report = loadgen(port, "--keepalive", 3, "--new-rate", 50, "--churn", 2, "--duration", 1)
    assert report["failure_count"] == 0, report["failures"]
    for name, counts in report["kinds"].items():
        assert counts["answered"] == counts["requests_sent"] > 20, name
        assert counts["latency_us"]["count"] == counts["answered"]
    assert 45 <= report["kinds"]["new"]["answered"] <= 51  # the open loop keeps its rate
    assert report["kinds"]["keepalive"]["connects"] == 3
    assert report["kinds"]["churn"]["closed_after_notice"] == report["kinds"]["churn"]["answered"]


def test_a_notice_before_closing_is_no_failure():
    def script(client, _):
        read_request(client)
        client.sendall(LAST)
    with serve(script) as port:
        report = loadgen(port, "--keepalive", 2, "--duration", 0.3)
    counts = report["kinds"]["keepalive"]
    assert counts["failed"] == 0
    assert counts["closed_after_notice"] == counts["answered"] == counts["connects"] > 2


def test_an_idle_connection_may_be_closed():
    def script(client, n):
        if n > 0:
            answering(client, n)
        read_request(client)
        client.sendall(ANSWER)
    with serve(script) as port:
        report = loadgen(port, "--keepalive", 1, "--rate", 20, "--duration", 0.5)
    assert report["kinds"]["keepalive"]["closed_idle"] == 1
    assert report["kinds"]["keepalive"]["failed"] == 0


def test_a_body_of_the_right_length_may_be_wrong():
    with serve(at_once(lambda client: say(client, ANSWER.replace(b"hello", b"hallo")))) as port:
        report = loadgen(port, "--keepalive", 1, "--rate", 100, "--duration", 0.3,
                         "--expect-body", "hello\n")
    counts = report["kinds"]["keepalive"]
    assert counts["wrong_body"] == counts["failed"] == 1 and counts["answered"] > 5


def test_strict_tells_by_its_exit_status():
    command = [str(harness.TOOLS_DIR / "loadgen"), "--keepalive", "1", "--duration", "0.2",
               "--strict", "--port"]
    with serve(answering) as port:
        assert subprocess.run([*command, str(port)], stdout=subprocess.DEVNULL, timeout=30,
                              check=False).returncode == 0
    with serve(at_once(reset)) as port:
        assert subprocess.run([*command, str(port)], stdout=subprocess.DEVNULL, timeout=30,
                              check=False).returncode == 2


def test_a_stall_is_not_hidden():
    """Waiting counts from when a connection was due, also while the server answers nobody."""
    begun = []

    def script(client, n):
        begun.append(n)
        if len(begun) < 20:
            harness.wait_until(lambda: len(begun) >= 20, 10)
        answering(client, n)
    with serve(script) as port:
        report = loadgen(port, "--new-rate", 50, "--duration", 1, "--slow-ms", 100, "--track-pid")
    assert report["failure_count"] == 0
    slow = report["slow"]
    assert report["slow_count"] == len(slow) >= 10
    first = min(slow, key=lambda one: one["due"])
    assert first["took_ms"] >= 350 and first["port"] > 0 and first["kind"] == "new"
    assert report["kinds"]["new"]["latency_us"]["max"] >= 350e3


def test_connects_from_several_addresses():
    seen = set()

    def script(client, n):
        seen.add(client.getpeername()[0])
        answering(client, n)
    with serve(script) as port:
        report = loadgen(port, "--new-rate", 50, "--duration", 0.4, "--source", "127.0.0.7",
                         "--sources", 3)
    assert report["failure_count"] == 0
    assert seen == {"127.0.0.7", "127.0.0.8", "127.0.0.9"}


def test_opens_keepalive_connections_one_after_another():
    with serve(answering) as port:
        report = loadgen(port, "--keepalive", 100, "--open-rate", 50, "--duration", 1, "--series")
    assert report["failure_count"] == 0
    assert 40 <= report["kinds"]["keepalive"]["connects"] <= 51


def test_a_wire_delays_both_ways():
    try:
        line = wire.Wire(round_trip_ms=40)
    except wire.Unavailable as error:
        pytest.skip(f"no network namespaces here: {error}")
    with line:
        server = subprocess.Popen(
            [*line.server, sys.executable, "-c",
             "import socket\nlistener = socket.create_server(('10.77.0.1', 8000))\nprint(flush=True)\n"
             "while True: client = listener.accept()[0]; client.recv(99); "
             "client.sendall(b'HTTP/1.1 200 OK\\r\\n\\r\\nx'); client.close()"],
            stdout=subprocess.PIPE)
        try:
            server.stdout.readline()
            report = loadgen_in(line, "--host", line.address, "--port", 8000, "--new-rate", 20,
                                "--duration", 0.5, "--source", line.source, "--sources", 4)
        finally:
            server.kill()
            server.wait()
        counts = report["kinds"]["new"]
        assert counts["answered"] == counts["connects"] >= 9
        assert counts["connect_us"]["p50"] >= 40e3 and counts["latency_us"]["p50"] >= 80e3
        assert line.close() == 0
    assert not pathlib.Path(line.server[1].split("=")[1]).exists()


def loadgen_in(line, *args):
    output = subprocess.run([*line.client, str(harness.TOOLS_DIR / "loadgen"), *map(str, args)],
                            stdout=subprocess.PIPE, timeout=30, check=True).stdout
    return json.loads(output)


def test_refused_and_unanswered_connects():
    port = harness.free_port()
    counts = loadgen(port, "--new-rate", 100, "--duration", 0.3)["kinds"]["new"]
    assert counts["connect_refused"] == counts["connects"] > 20
    # A full accept queue does not answer a SYN.
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        counts = loadgen(listener.getsockname()[1], "--new-rate", 20, "--duration", 0.3,
                         "--connect-timeout", 0.3, "--linger", 1)["kinds"]["new"]
    assert counts["connect_timeout"] == counts["connects"] > 3


def test_answers_in_pieces_and_to_the_end_of_the_connection():
    def script(client, _):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        read_request(client)
        for byte in b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX: y\r\n\r\nhello\n":
            client.send(bytes([byte]))
    with serve(script) as port:
        counts = loadgen(port, "--churn", 1, "--duration", 0.3)["kinds"]["churn"]
    assert counts["answered"] == counts["requests_sent"] > 1


def test_ends_on_a_file_and_finishes_what_it_asked(tmp_path):
    with serve(answering) as port:
        process = subprocess.Popen(
            [str(harness.TOOLS_DIR / "loadgen"), "--port", str(port), "--keepalive", "2",
             "--until-file", str(tmp_path / "end"), "--ready-file", str(tmp_path / "ready")],
            stdout=subprocess.PIPE)
        harness.wait_until((tmp_path / "ready").exists, 5, "ready")
        (tmp_path / "end").touch()
        output, _ = process.communicate(timeout=5)
    counts = json.loads(output)["kinds"]["keepalive"]
    assert counts["answered"] == counts["requests_sent"] > 0
    assert counts["unfinished"] == 0


def test_over_a_unix_socket(tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(8)
        process = subprocess.Popen(
            [str(harness.TOOLS_DIR / "loadgen"), "--unix", path, "--keepalive", "1",
             "--duration", "0.3"], stdout=subprocess.PIPE)
        client, _ = listener.accept()
        with client, contextlib.suppress(OSError):
            answering(client, 0)
        output, _ = process.communicate(timeout=5)
    assert json.loads(output)["kinds"]["keepalive"]["answered"] > 0


def test_usage_errors():
    for args in ([], ["--port", "x", "--keepalive", "1"], ["--port", "80"], ["--nonsense"]):
        result = subprocess.run([str(harness.TOOLS_DIR / "loadgen"), *args], capture_output=True,
                                check=False)
        assert result.returncode == os.EX_USAGE and b"usage:" in result.stderr
