# SPDX-License-Identifier: BSD-2-Clause
"""A client that counts every request that did not get its whole answer."""
import socket
import threading
import time

import unit

ADDRESS = ("127.0.0.1", unit.PORT)
REQUEST = b"GET /hello HTTP/1.1\r\nHost: check\r\nConnection: close\r\n\r\n"


def read_answer(connection):
    """The answer to a request with Connection: close, or that of a server that closes anyway."""
    text = b""
    while True:
        piece = connection.recv(65536)
        if not piece:
            return text.decode()
        text += piece


def is_whole(answer):
    return answer.startswith("HTTP/1.1 200 ") and answer.endswith("\r\n\r\nhello\n")


def get(timeout=unit.PATIENCE, address=ADDRESS):
    """One request on its own connection; OSError when it fails."""
    with socket.create_connection(address, timeout=timeout) as connection:
        connection.sendall(REQUEST)
        return read_answer(connection)


def refused(address=ADDRESS):
    """Whether nobody listens."""
    try:
        socket.create_connection(address, timeout=1).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


class Load:
    """A few clients that make one request after the other, each on a connection of its own."""

    def __init__(self, clients=4, pause=0.002):
        self.ended, self.pause = threading.Event(), pause
        self.lock, self.answered, self.failures = threading.Lock(), 0, []
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def _run(self):
        while not self.ended.is_set():
            started = time.monotonic()
            try:
                answer = get()
                failure = None if is_whole(answer) else f"answer {answer[:80]!r}"
            except OSError as error:
                failure = repr(error)
            with self.lock:
                if failure is None:
                    self.answered += 1
                else:
                    self.failures.append(f"{failure} after {time.monotonic() - started:.3f} s")
            time.sleep(self.pause)

    def wait(self, more=200):
        """Until so many more requests were answered."""
        wanted = self.answered + more
        unit.wait_until(lambda: self.answered >= wanted or self.failures, f"{more} more answers")

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.wait(20)
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join()

    def check(self):
        assert not self.failures, (f"{len(self.failures)} of {self.answered + len(self.failures)} "
                                   f"requests failed: {self.failures[:5]}")
