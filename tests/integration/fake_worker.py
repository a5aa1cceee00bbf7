# SPDX-License-Identifier: BSD-2-Clause
"""The worker's side of common/contract.h, for workers that misbehave on purpose."""
import os
import pathlib
import socket
import struct
import sys

MAGIC, CONTRACT = 0x4D535452, 1
HELLO, READY, ASSIGNED, METRICS, QUERY, GOODBYE = 1, 2, 3, 4, 5, 6
WELCOME, REFUSED, LISTENERS, ASSIGN, STATE, DRAIN = 32, 33, 34, 35, 36, 37
SLOT, PID, GENERATION, BUILD, SLOTS, EPOCH, SNAPSHOT, REASON = 1, 2, 3, 5, 7, 8, 13, 19


def u32(value):
    return struct.pack("=I", value)


def u64(value):
    return struct.pack("=Q", value)


def message(kind, *fields):
    """message(HELLO, (SLOT, u32(0)), …): one datagram."""
    head = struct.pack("=IHH", MAGIC, kind, CONTRACT)
    return head + b"".join(struct.pack("=II", tag, len(data)) + data for tag, data in fields)


def parse(datagram):
    """(kind, {tag: bytes})"""
    kind = struct.unpack_from("=H", datagram, 4)[0]
    fields, at = {}, 8
    while at < len(datagram):
        tag, size = struct.unpack_from("=II", datagram, at)
        fields[tag] = datagram[at + 8:at + 8 + size]
        at += 8 + size
    return kind, fields


def connect(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(str(path))
    return sock


class Worker:
    """Started by musterd: reads its arguments, says HELLO, answers ASSIGN."""

    def __init__(self):
        arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
        self.slot = int(arguments["--slot"])
        self.generation = int(arguments["--generation"])
        self.sock = connect(arguments["--control"])

    def send(self, *arguments):
        self.sock.send(message(*arguments))

    def hello(self):
        self.send(HELLO, (SLOT, u32(self.slot)), (PID, u32(os.getpid())),
                  (GENERATION, u64(self.generation)), (BUILD, b"fake"))

    def receive(self):
        data, fds, _, _ = socket.recv_fds(self.sock, 1 << 17, 128)
        for fd in fds:
            os.close(fd)
        if not data:
            sys.exit(75)
        return parse(data)

    def become_ready(self):
        self.hello()
        while True:
            kind, fields = self.receive()
            if kind == ASSIGN:
                self.send(READY)
                self.send(ASSIGNED, (EPOCH, fields[EPOCH]), (SLOTS, fields[SLOTS]))
                return

    def go_on(self):
        """Answers what the master sends until it says DRAIN."""
        while True:
            kind, fields = self.receive()
            if kind == ASSIGN:
                self.send(ASSIGNED, (EPOCH, fields[EPOCH]), (SLOTS, fields[SLOTS]))
            elif kind == DRAIN:
                self.send(GOODBYE)
                sys.exit(0)


def script(path, body):
    """Writes a program to be used as worker_path: `body` runs with `worker` at hand."""
    here = pathlib.Path(__file__).resolve().parent
    path.write_text(f"#!/usr/bin/python3 -B\nimport os, signal, struct, sys\nsys.path.insert(0, {str(here)!r})\n"
                    f"from fake_worker import *\nworker = Worker()\n{body}\n")
    path.chmod(0o755)
    return path
