# SPDX-License-Identifier: BSD-2-Clause
"""A client that uses keep-alive connections again at the worst moments, and tells what became of it.

reuse_client.py HOST PORT KIND OFFSETS: opens a connection for each offset (milliseconds, separated by
commas) and sends a request on it, prints "ready", waits for a line, and sends again on each connection
that many milliseconds later. KIND is whole, half (the rest of the request follows 150 ms later) or
pipelined (three requests in one segment). Prints a list of [offset, what came of it].
"""
import json
import select
import socket
import sys
import time

REQUEST = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
PATIENCE_S = 15


def read_answers(sock, wanted):
    """How many whole answers came, and how it ended: None (they all came), closed or reset."""
    data, deadline = b"", time.monotonic() + PATIENCE_S
    while data.count(b"hello\n") < wanted:
        if not select.select([sock], [], [], max(0, deadline - time.monotonic()))[0]:
            return data.count(b"hello\n"), "timeout"
        try:
            piece = sock.recv(65536)
        except ConnectionResetError:
            return data.count(b"hello\n"), "reset"
        if not piece:
            return data.count(b"hello\n"), "closed"
        data += piece
    return wanted, None


def connect(host, port):
    sock = socket.create_connection((host, port), PATIENCE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(REQUEST)
    assert read_answers(sock, 1) == (1, None)
    return sock


def steps(kind, offsets):
    """(when, connection, bytes), in the order of time."""
    half = len(REQUEST) // 2
    for index, offset in enumerate(offsets):
        if kind == "half":
            yield offset, index, REQUEST[:half]
            yield offset + 150, index, REQUEST[half:]
        else:
            yield offset, index, REQUEST * (3 if kind == "pipelined" else 1)


def main():
    host, port, kind, offsets = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    offsets = [float(offset) for offset in offsets.split(",")]
    socks = [connect(host, port) for _ in offsets]
    print("ready", flush=True)
    sys.stdin.readline()
    start, broken = time.monotonic(), {}
    for when, index, data in sorted(steps(kind, offsets)):
        time.sleep(max(0, start + when / 1000 - time.monotonic()))
        try:
            socks[index].sendall(data)
        except OSError as error:
            broken[index] = type(error).__name__
    results = []
    for index, (offset, sock) in enumerate(zip(offsets, socks)):
        wanted = 3 if kind == "pipelined" else 1
        got, end = read_answers(sock, wanted)
        what = "answered" if end is None else end if got == 0 else f"{got} of {wanted}, {end}"
        if index in broken and end != "reset":
            what = f"{what} ({broken[index]})"
        results.append([offset, what])
    print(json.dumps(results))


main()
