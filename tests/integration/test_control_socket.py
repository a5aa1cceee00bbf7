# SPDX-License-Identifier: BSD-2-Clause
"""Nonsense on the control socket, from a stranger and from a worker: that connection is closed,
it is logged once, and nobody else notices."""
import contextlib
import os
import random
import signal
import socket
import struct

import fake_worker
import harness
import pytest
from fake_worker import GENERATION, HELLO, MAGIC, PID, SLOT, message, u32, u64

PIECES = random.Random(2)  # the same garbage every time


def garbage():
    """Datagrams that no worker would send first."""
    yield b""
    yield b"\0"
    yield b"GET / HTTP/1.1\r\n\r\n"
    yield os.urandom(1)
    for size in (8, 9, 100, 5000, 100000):
        yield bytes(PIECES.getrandbits(8) for _ in range(size))
    yield struct.pack("=IHH", MAGIC, HELLO, 0)
    yield message(HELLO)
    yield message(HELLO, (SLOT, u32(0)))
    yield message(HELLO, (SLOT, b"\0"), (GENERATION, u64(1)))
    yield message(HELLO, (SLOT, u32(0xFFFFFFFF)), (GENERATION, u64(1)))
    yield message(HELLO, (SLOT, u32(0)), (GENERATION, u64(1)))
    yield message(HELLO, (SLOT, u32(0)), (GENERATION, u64(1)), (PID, u32(1)))
    yield message(HELLO, (SLOT, u32(0)), (GENERATION, u64(1))) + struct.pack("=II", SLOT, 0xFFFFFFFF)
    for kind in (0, 2, 3, 4, 5, 6, 32, 35, 37, 65535):
        yield message(kind)
    yield b"x" * 131072


def test_garbage_from_a_stranger(cluster):
    pids = cluster.worker_pids()
    for datagram in garbage():
        with fake_worker.connect(cluster.run_dir / "control.sock") as stranger:
            stranger.settimeout(10)
            with contextlib.suppress(BrokenPipeError):
                stranger.send(datagram)
            with contextlib.suppress(ConnectionResetError):
                while stranger.recv(1 << 17):  # REFUSED may come first
                    pass
    assert cluster.get("/hello").status == 200
    assert cluster.worker_pids() == pids
    refused = cluster.log_lines("control connection refused")
    assert 1 <= len(refused) <= 3, refused
    harness.wait_until(lambda: cluster.status()["master"]["control_rejected"] >= 20, 5,
                       lambda: f"counted: {cluster.status()['master']['control_rejected']}")


def test_descriptors_from_a_stranger_are_closed(cluster):
    def open_files():
        return len(os.listdir(f"/proc/{cluster.process.pid}/fd"))
    before = open_files()
    null = os.open("/dev/null", os.O_RDONLY)
    for _ in range(20):
        with fake_worker.connect(cluster.run_dir / "control.sock") as stranger:
            with contextlib.suppress(OSError):
                socket.send_fds(stranger, [message(HELLO)], [null] * 100)
    os.close(null)
    harness.wait_until(lambda: open_files() <= before + 1, 5,
                       lambda: f"{before} descriptors, now {open_files()}")


def test_strangers_that_say_nothing_are_bounded(cluster):
    """They keep nobody from anything, and are sent away."""
    with contextlib.ExitStack() as stack:
        silent = []
        for _ in range(200):
            stranger = stack.enter_context(fake_worker.connect(cluster.run_dir / "control.sock"))
            stranger.setblocking(False)
            silent.append(stranger)
        pid = cluster.kill_worker(0)
        cluster.wait_replaced(0, pid)

        def all_closed():
            closed = 0
            for stranger in silent:
                with contextlib.suppress(BlockingIOError):
                    closed += stranger.recv(1) == b""
            return closed == len(silent)
        harness.wait_until(all_closed, 10, "all of them are closed")


def test_another_user_cannot_connect(cluster):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setgid(54321)
        os.setuid(54321)
        try:
            fake_worker.connect(cluster.run_dir / "control.sock")
        except PermissionError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


NONSENSE = {
    "random bytes": "worker.become_ready()\nworker.sock.send(os.urandom(3000))",
    "a message of the master": "worker.become_ready()\nworker.send(WELCOME)",
    "an impossible length": "worker.become_ready()\n"
                            "worker.sock.send(message(METRICS) + struct.pack('=II', 13, 1 << 31))",
    "metrics without a snapshot": "worker.become_ready()\nworker.send(METRICS)",
    "a snapshot of random bytes": "worker.become_ready()\n"
                                  "worker.send(METRICS, (SNAPSHOT, b'\\xff' * 5000))",
    "HELLO twice": "worker.become_ready()\nworker.hello()",
    "a query without an id": "worker.become_ready()\nworker.send(QUERY)",
    "ASSIGNED without slots": "worker.become_ready()\nworker.send(ASSIGNED)",
    "READY before HELLO": "worker.send(READY)",
}


def one_bad_worker(cluster, body):
    """The first worker that starts runs `body`, all others are real."""
    once = cluster.dir / "once"
    fake = fake_worker.script(cluster.dir / "fake.py", body)
    path = cluster.dir / "worker.sh"
    # Only one mkdir can succeed.
    path.write_text(f'#!/bin/sh\nmkdir {once} 2>/dev/null && exec {fake} "$@"\n'
                    f'exec {harness.WORKER} "$@"\n')
    path.chmod(0o755)
    cluster.config["worker_path"] = path


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_from_a_worker(make_cluster, name):
    """One bad worker among good ones: it is replaced, and they go on."""
    cluster = make_cluster(start=False, workers=3,
                           start_timeout="2s" if not harness.SANITIZE else "5s")
    one_bad_worker(cluster, f"{NONSENSE[name]}\nwhile worker.sock.recv(1 << 17): pass\n"
                   "signal.pause()")
    cluster.spawn()
    cluster.wait_managed()

    def bad_one():
        return [worker for worker in cluster.status()["workers"] if worker["last_exit"]]
    bad = harness.wait_until(bad_one, 15, "the bad worker has an obituary")[0]
    assert bad["last_exit"]["reason"] in ("protocol", "start_timeout")
    cluster.wait_ready()
    assert cluster.get("/hello").status == 200
    assert sum(worker["restarts"] for worker in cluster.workers().values()) == 1
    assert len(cluster.log_lines("nonsense|refused")) <= 2


def test_the_nonsense_of_a_canary_is_not_held_against_the_slot(make_cluster):
    cluster = make_cluster(workers=1, restart={"healthy_after": "1h"})
    cluster.config["worker_path"] = fake_worker.script(
        cluster.dir / "fake.py", "worker.become_ready()\nworker.send(WELCOME)\nsignal.pause()")
    cluster.write_config()
    for _ in range(3):
        result = cluster.musterctl("reload")
        assert result.returncode == 1 and "the canary sent nonsense" in result.stderr, result.stderr
        harness.wait_until(lambda: not cluster.workers()[0]["draining"], 20, "the canary has ended")
    cluster.kill_worker(0, signal.SIGSEGV)
    # Its first early death: the next one starts at once.
    cluster.wait_log(r"worker died .*SIGSEGV.* next_start_ms=0\b")
    cluster.wait_ready()


def test_a_worker_that_floods_the_master(make_cluster):
    """The master answers others while one worker sends as fast as it can."""
    cluster = make_cluster(start=False, workers=2)
    one_bad_worker(cluster, "worker.become_ready()\n"
                   "while True: worker.send(QUERY, (14, u32(1)), (15, u32(0)))")
    cluster.spawn()
    harness.wait_until((cluster.dir / "once").exists, 5)
    cluster.wait_ready(20)  # the flood has been ended, the worker replaced
    resident = int(harness.process_stat(cluster.process.pid)[21]) * 4096
    assert resident < (64 << 20) or harness.SANITIZE
    assert cluster.get("/hello").status == 200


def test_musterd_ends_although_a_worker_ignores_it(make_cluster):
    cluster = make_cluster(start=False, workers=1, drain_timeout="1s")
    cluster.config["worker_path"] = fake_worker.script(
        cluster.dir / "fake.py", "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "worker.become_ready()\nwhile True: worker.receive()")
    cluster.spawn()
    cluster.wait_ready(10)
    assert cluster.stop(signal.SIGTERM) == 0
