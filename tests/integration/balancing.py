# SPDX-License-Identifier: BSD-2-Clause
"""Situations in which it matters who gets a new connection, and measuring how they end."""
import contextlib
import errno
import select
import socket
import threading
import time

import harness


# ---- one worker that is busy ----

def slot_of(connection):
    """The slot of the worker that answers on a connection."""
    return connection.request("GET", "/health/live").json["slot"]


@contextlib.contextmanager
def busy_worker(cluster, slot=0, clients=2, path="/test/stall?ms=40"):
    """Keep-alive clients of one worker ask for something slow, one request after another. The cluster
    must have been started with worker_path = harness.TEST_WORKER."""
    held, spare = [], []
    while len(held) < clients:
        connection = harness.Connection(cluster.address)
        (held if slot_of(connection) == slot else spare).append(connection)
        assert len(spare) < 1000, f"no connection reaches slot {slot}"
    for connection in spare:
        connection.close()
    ending = threading.Event()

    def ask(connection):
        while not ending.is_set():
            connection.request("GET", path)
    threads = [threading.Thread(target=ask, args=(connection,), daemon=True) for connection in held]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ending.set()
        for thread in threads:
            thread.join(30)
        for connection in held:
            connection.close()


def latency_beside_a_busy_worker(cluster, rate=300, seconds=4, when_busy=None, **options):
    """The report of a client that opens connections, each for one request, while slot 0 is busy."""
    with busy_worker(cluster, **options):
        # The master has had the time to see it, as it has in a situation that lasts.
        watch = harness.Watch()
        harness.wait_until(lambda: watch.seconds >= 1, 5, interval=0.05)
        if when_busy:
            when_busy()
        return cluster.load("--new-rate", rate, "--duration", seconds).result()


# ---- connections that stay ----

class Crowd:
    """Clients that hold a connection each, as many as `wanted`. They open them at `rate` per second
    and come back when the server closes one. Runs in a thread of its own."""

    def __init__(self, address, rate):
        self.address, self.rate = address, rate
        self.wanted = self.lost = self.refused = 0
        self.sockets, self.epoll = {}, select.epoll()
        self.ending, self.error = threading.Event(), None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join()
        for sock in self.sockets.values():
            sock.close()
        self.epoll.close()

    @property
    def open(self):
        return len(self.sockets)

    def grow(self, wanted, timeout=60):
        """Returns when so many connections are open."""
        self.wanted = wanted
        harness.wait_until(lambda: self.error or self.open >= wanted, timeout,
                           lambda: f"{self.open} of {wanted} connections are open")
        assert self.error is None, self.error

    def _run(self):
        try:
            began, due = time.monotonic(), 0.0
            while not self.ending.is_set():
                # Whatever could not be opened in time is not made up for in a burst.
                due = max(due, (time.monotonic() - began) * self.rate - self.rate / 20)
                while self.open < self.wanted and due < (time.monotonic() - began) * self.rate:
                    self._open()
                    due += 1
                self._see_closed(0.002)
        except Exception as error:  # told by grow()
            self.error = error

    def _open(self):
        sock = socket.create_connection(self.address, 10 * harness.PATIENCE)
        sock.setblocking(False)
        self.sockets[sock.fileno()] = sock
        self.epoll.register(sock, select.EPOLLIN | select.EPOLLRDHUP)

    def _see_closed(self, timeout):
        for fd, _ in self.epoll.poll(timeout, 4096):
            sock = self.sockets[fd]
            try:
                if sock.recv(65536):
                    continue
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno != errno.ECONNRESET:
                    raise
            self.epoll.unregister(fd)
            sock.close()
            del self.sockets[fd]
            self.lost += 1


def connections_by_slot(cluster):
    return {slot: worker["connections"] for slot, worker in cluster.workers().items()
            if worker["state"] == "ready"}


def spread_error(counts):
    """How far the slot that is furthest from even is from it, in parts of even."""
    even = sum(counts.values()) / len(counts)
    return max(abs(count - even) for count in counts.values()) / even


def crowd_through_changes(cluster, total, rate):
    """Opens `total` connections while the cluster goes from 2 workers to 4, to 3, and one of them is
    restarted. Returns how many each slot holds in the end."""
    with Crowd(cluster.address, rate) as crowd:
        crowd.grow(total // 4)
        assert cluster.musterctl("scale", "4").returncode == 0
        crowd.grow(total // 2)
        assert cluster.musterctl("scale", "3").returncode == 0
        crowd.grow(total * 3 // 4)
        assert cluster.musterctl("restart", "1").returncode == 0
        crowd.grow(total)

        def all_counted():
            counts = connections_by_slot(cluster)
            return counts if sum(counts.values()) == crowd.open == total else None
        return harness.wait_until(all_counted, 30, lambda: (
            f"{crowd.open} are open, the workers count {connections_by_slot(cluster)}"))
