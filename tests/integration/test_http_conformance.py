# SPDX-License-Identifier: BSD-2-Clause
"""The raw byte cases of tests/conformance/http_cases.txt against a running server.

Behind every case a second request is sent. Where the connection has to go on, its answer shows
that the server saw the end of the case exactly where it is; where it has to be closed, the lack
of an answer shows that nothing behind the case was taken for a request.
"""
import os
import pathlib
import random
import re
import socket
import sys

import harness
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "conformance"))
import http_cases  # noqa: E402

CASES = [case for case in http_cases.load() if case.live_end]
PROBE = b"GET /hello HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"
SHORT = 400  # bytes; what is sent byte by byte

STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) [\x20-\x7e]*\Z")
FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\x20-\x7e]*?)[ \t]*\Z")


class Answer:
    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body

    def __repr__(self):
        return f"<{self.status} {self.fields} {self.body[:80]!r}>"


def take_chunked(data):
    """A chunked body, and what is behind it."""
    body = b""
    while True:
        line, data = data.split(b"\r\n", 1)
        size = int(line, 16)
        if size == 0:
            assert data.startswith(b"\r\n")
            return body, data[2:]
        assert data[size:size + 2] == b"\r\n"
        body, data = body + data[:size], data[size + 2:]


def take_answer(data, method):
    """The first answer in the bytes, strictly, and what is behind it."""
    head, end, rest = data.partition(b"\r\n\r\n")
    assert end, f"the head of an answer is cut off: {data[:200]!r}"
    status_line, *lines = head.split(b"\r\n")
    status = STATUS_LINE.match(status_line)
    assert status, f"not a status line: {status_line!r}"
    status = int(status[1])
    fields = {}
    for line in lines:
        field = FIELD_LINE.match(line)
        assert field, f"not a header field: {line!r}"
        name = field[1].decode().lower()
        assert name not in fields, f"{name} is there twice"
        fields[name] = field[2].decode()
    assert not ("content-length" in fields and "transfer-encoding" in fields)
    body = b""
    if status >= 200 and status not in (204, 304) and method != "HEAD":
        if "transfer-encoding" in fields:
            body, rest = take_chunked(rest)
        else:
            length = int(fields["content-length"])
            assert len(rest) >= length, f"the body of an answer is cut off: {rest!r}"
            body, rest = rest[:length], rest[length:]
    return Answer(status, fields, body), rest


def take_answers(data, methods):
    """All answers in the bytes, but for 100 (Continue)."""
    answers = []
    while data:
        method = methods[len(answers)] if len(answers) < len(methods) else "GET"
        answer, data = take_answer(data, method)
        if answer.status != 100:
            answers.append(answer)
    return answers


def check_answer(answer):
    """What holds for every final answer."""
    assert "date" in answer.fields  # RFC 9110 6.6.1
    if answer.status == 405:
        assert answer.fields["allow"]  # RFC 9110 15.5.6
    if answer.status == 204:
        assert "content-length" not in answer.fields  # RFC 9110 8.6
    else:
        assert {"content-length", "transfer-encoding"} & answer.fields.keys()


def exchange(cluster, pieces):
    """Sends the pieces; all that comes until the connection ends, and whether the end was clean."""
    received = b""
    with cluster.connect() as connection:
        sock = connection.sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                sock.sendall(piece)
                os.sched_yield()
        except (BrokenPipeError, ConnectionResetError):
            pass  # closed at the mistake
        while True:
            try:
                piece = sock.recv(65536)
            except ConnectionResetError:
                return received, False
            if not piece:
                return received, True
            received += piece


def cut_at_random(data, source):
    """Pieces of a few bytes, or of a few hundred if there are many."""
    largest = 30 if len(data) < 2000 else len(data) // 20
    at = 0
    while at < len(data):
        size = source.randint(1, largest)
        yield data[at:at + size]
        at += size


def ways_to_send(case, data):
    source = random.Random(case.name)
    yield "whole", [data]
    yield "head, then the rest", [case.head, data[len(case.head):]]
    yield "cut at random", cut_at_random(data, source)
    if len(data) <= SHORT and not (harness.SANITIZE and source.random() < 0.7):
        yield "byte by byte", (data[at:at + 1] for at in range(len(data)))


def check_connection_field(case, answer, closed):
    option = answer.fields.get("connection", "").lower()
    minor = int(case.value("minor", "1"))
    if closed and minor == 1:
        assert option == "close"  # RFC 9112 9.6
    if not closed:
        # An HTTP/1.0 client takes the connection to be closed unless told otherwise.
        assert option == ("keep-alive" if minor == 0 else option) != "close"


def check_exchange(case, received, clean):
    # A reset can destroy the answer on its way (RFC 9112 9.6). Who has asked for the connection
    # to be closed and sends on nevertheless has to live with it.
    asked_for_it = case.status == 0 and case.value("keep", "1") == "0"
    assert clean or asked_for_it, f"the connection was reset after {received!r}"
    answers = take_answers(received, [case.value("method", "GET")])
    assert answers, "no answer"
    first = answers[0]
    assert first.status in case.live_statuses
    for answer in answers:
        check_answer(answer)
    goes_on = len(answers) > 1
    if goes_on:
        assert len(answers) == 2, f"answers to more than was asked: {answers[2:]}"
        assert answers[1].status == 200 and answers[1].body == b"hello\n"
    if case.live_end != "either":
        assert goes_on == (case.live_end == "keep")
    check_connection_field(case, first, not goes_on)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_case(shared_cluster, case):
    for how, pieces in ways_to_send(case, case.head + case.body + PROBE):
        try:
            check_exchange(case, *exchange(shared_cluster, pieces))
        except (AssertionError, OSError) as error:
            pytest.fail(f"{case.name} ({case.clause}), {how}: {error or repr(error)}")


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
def test_all_on_one_connection(shared_cluster, cut):
    """Everything that keeps a connection open, in one stream: one answer each, in order."""
    source = random.Random(7)
    cases = [case for case in CASES
             if case.live_end == "keep" and len(case.head + case.body) < SHORT]
    source.shuffle(cases)
    assert len(cases) > 50
    data = b"".join(case.head + case.body for case in cases) + PROBE
    pieces = cut_at_random(data, source) if cut else [data]
    methods = [case.value("method", "GET") for case in cases]
    received, _ = exchange(shared_cluster, pieces)
    answers = take_answers(received, methods)
    for case, answer in zip(cases, answers):
        assert answer.status in case.live_statuses, case.name
    assert len(answers) == len(cases) + 1 and answers[-1].status == 200


def test_silence_until_the_head_is_complete(shared_cluster):
    """What is incomplete, and only that, gets no answer and keeps its connection."""
    for case in http_cases.load():
        if case.expect != "incomplete":
            continue
        with shared_cluster.connect() as connection:
            connection.send(case.head)
            # Long enough for the answers of others; each worker gets some of these.
            for _ in range(4):
                assert shared_cluster.get("/hello").status == 200
            connection.sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.sock.recv(1)
