# SPDX-License-Identifier: BSD-2-Clause
"""Things that happen to a server while it is busy, and what its clients see of them.

A subject is a server under test: Muster here, nginx and HAProxy in tests/bench/peers.py. Each
function below does one thing to it again and again under the same load and returns a Result.
tests/integration/test_churn.py asserts on small ones, tests/bench/bench_churn.py prints big ones.
"""
import collections
import dataclasses
import os
import random
import select
import shutil
import signal
import threading
import time

import harness
import survival

NEW_RATE = 2000        # new connections per second, open loop
KEEPALIVE = 64         # busy keep-alive connections ...
KEEPALIVE_RATE = 2000  # ... and the requests per second over all of them
SOURCES = 8            # client addresses: 2,000/s would use up the ports of one in 14 s
SLOW_MS = 100          # a new connection that waits longer is listed


def pause(seconds):
    """Lets the load run."""
    if seconds > 0:
        select.select([], [], [], seconds)


@dataclasses.dataclass
class Result:
    """What happened in one row of the table."""
    subject: str
    events: int = 0
    requests: int = 0
    failures: list = dataclasses.field(default_factory=list)   # that count
    excused: list = dataclasses.field(default_factory=list)    # that do not, see the row
    failed: int = 0         # how many, also where the list of them is not complete
    overrun: int = 0        # requests that the client could not start: its own limit
    slow: list = dataclasses.field(default_factory=list)       # new connections above SLOW_MS
    longest_new_ms: float = 0.0  # from when it was due to the end of its answer
    stall_ms: float = 0.0   # the client's own longest stall: part of the above, not the server's
    seconds: float = 0.0
    notes: list = dataclasses.field(default_factory=list)      # what else went wrong
    extra: dict = dataclasses.field(default_factory=dict)      # figures of one row only

    def kinds(self):
        """{(load, what): count} of the failures that count."""
        return dict(collections.Counter((failure["kind"], failure["what"])
                                        for failure in self.failures))

    def text(self, limit=8):
        """For an assertion message."""
        return (f"{self.failed} of {self.requests} failed in {self.events} events "
                f"(overrun {self.overrun}): {self.kinds()} {self.notes}; "
                f"first: {self.failures[:limit]}")


def judge(result, report, excuse=None):
    """Takes over what the load client counted; excuse(failure) says which do not count."""
    excuse = excuse or (lambda failure: False)
    for failure in report["failures"]:
        (result.excused if excuse(failure) else result.failures).append(failure)
    kinds = report["kinds"]
    result.requests = sum(kind["connects"] if name == "new" else kind["requests_sent"]
                          for name, kind in kinds.items())
    result.failed = report["failure_count"] - len(result.excused)
    result.overrun = kinds["new"]["overrun"]
    result.slow = [slow for slow in report["slow"] if slow["kind"] == "new"]
    result.longest_new_ms = kinds["new"]["latency_us"]["max"] / 1000
    result.stall_ms = report["stall_max_ms"]
    result.seconds = report["elapsed_s"]
    result.extra["closed idle"] = kinds["keepalive"]["closed_idle"]
    return result


class Unsupported(Exception):
    """The subject has no such operation."""


class Subject:
    """A server under test, as a context manager. Operations raise Unsupported."""
    name = "?"
    loopback = "127.0.0.1"
    load_size = {"new_rate": NEW_RATE, "keepalive": KEEPALIVE, "keepalive_rate": KEEPALIVE_RATE}

    def __init__(self, wire=None):
        self.wire = wire
        self.host = wire.address if wire else self.loopback
        self.server_prefix = wire.server if wire else []

    def load(self, *args):
        """Starts the load; a row's own options come last."""
        size = self.load_size
        return harness.Load(
            (self.host, self.port), self.dir, "--keepalive", size["keepalive"],
            "--rate", size["keepalive_rate"], "--new-rate", size["new_rate"], "--max-open", 16000,
            "--source", self.wire.source if self.wire else "127.0.0.2", "--sources", SOURCES,
            "--expect-body", "hello\n", "--slow-ms", SLOW_MS, "--linger", 8, *args,
            prefix=self.wire.client if self.wire else ())

    # What a row may ask for. Scaling and reloads return whether the caller was told that it
    # worked; upgrade() and kill_master() what did not go as it should, or None.
    def scale(self, count):
        raise Unsupported

    def reload(self):
        raise Unsupported

    def reload_broken(self):
        raise Unsupported

    def reload_crashing(self):
        raise Unsupported

    def upgrade(self):
        raise Unsupported

    def kill_master(self):
        raise Unsupported

    def restart(self, note_closed):
        """Stops it gracefully and starts it again; note_closed() is called when the port may close."""
        raise Unsupported

    def after_kill(self):
        """What has to be done by hand, or by a service manager, when a worker was killed."""

    def workers(self):
        """Pids of the processes that serve now."""
        raise Unsupported

    def wait_workers(self):
        """Waits until everything is as it is to be."""


class Muster(Subject):
    """A cluster with every setting at its default, but for where it listens."""
    name = "muster"

    def __init__(self, wire=None, workers=4, **config):
        super().__init__(wire)
        sections = {("listen", "default"): {"address": self.host}}
        defaults = {"drain_delay": None, "drain_timeout": None, "drain_idle_grace": None}
        self.cluster = harness.Cluster({"workers": workers, "max_workers": max(4, workers),
                                        **sections, **defaults, **config},
                                       prefix=self.server_prefix)
        self.dir, self.port, self.most = self.cluster.dir, self.cluster.port, workers
        self.install_binaries()

    def install_binaries(self):
        """Copies of the programs, which an upgrade replaces as a package manager does: another
        file under the same name."""
        programs = self.dir / "programs"
        programs.mkdir(exist_ok=True)
        for program in (harness.MUSTERD, harness.WORKER):
            shutil.copy(program, programs / "new")
            os.rename(programs / "new", programs / program.name)
        self.cluster.program = programs / harness.MUSTERD.name

    def __enter__(self):
        try:
            self.cluster.start()
        except BaseException:
            print(self.cluster.log_text()[-4000:])
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            self.cluster.close()
        finally:
            self.cluster.remove()

    def ctl(self, *args):
        """Runs musterctl; whether it said that it worked."""
        return self.cluster.musterctl(*args).returncode == 0

    def scale(self, count):
        return self.ctl("scale", str(count))

    def reload(self):
        return self.ctl("reload")

    def reload_broken(self):
        good = self.cluster.config_path.read_text()
        self.cluster.config_path.write_text(good + "nonsense = 1\n")
        try:
            return self.ctl("reload")
        finally:
            self.cluster.config_path.write_text(good)

    def reload_crashing(self):
        good = self.cluster.config_path.read_text()
        program = self.cluster.dir / "crashing-worker"
        program.write_text("#!/bin/sh\nkill -SEGV $$\n")
        program.chmod(0o755)
        self.cluster.config_path.write_text(good + f'worker_path = "{program}"\n')
        try:
            return self.ctl("reload")
        finally:
            self.cluster.config_path.write_text(good)

    def upgrade(self):
        pid = self.cluster.process.pid
        self.install_binaries()
        inode = os.stat(self.cluster.program).st_ino
        if not self.ctl("upgrade"):
            return "was reported as failed"
        if os.stat(f"/proc/{pid}/exe").st_ino != inode:
            return f"process {pid} does not run the new program"
        return None

    def kill_master(self):
        """kill -9, then a new one is started, as a service manager would."""
        pids, before = sorted(self.workers()), self.counters()
        self.cluster.process.kill()
        self.cluster.process.wait()
        self.cluster.start(30)
        after = self.counters()
        fallen = [name for name, value in before.items() if after.get(name, -1) < value]
        if fallen:
            return f"counters fell: {fallen[:3]}"
        if sorted(self.workers()) != pids:
            return f"workers were restarted: {pids} -> {self.workers()}"
        return None

    def counters(self):
        return survival.counters(
            self.cluster.management("GET", "/metrics", over_socket=True).text)

    def restart(self, note_closed):
        before = len(self.cluster.log_text())
        self.cluster.send_signal(signal.SIGTERM)
        harness.wait_until(lambda: "no new connections" in self.cluster.log_text()[before:], 10,
                           "the port closes")
        note_closed()
        status = self.cluster.wait_exit(60)
        self.cluster.start()
        return status == 0

    def workers(self):
        return [worker["pid"] for worker in self.cluster.workers().values()
                if worker["state"] == "ready"]

    def wait_workers(self):
        self.cluster.wait_ready(30)


# ---- the rows ----

def settle(result, subject):
    """The end of a row: everything is back, and the last event's failures have been seen."""
    try:
        subject.wait_workers()
    except AssertionError as error:
        result.notes.append(str(error))
    pause(1)


def repeated(subject, rounds, event, rest, excuse=None):
    """Does event(n) `rounds` times under load, `rest` seconds apart from end to start."""
    result = Result(subject.name)
    client = subject.load().wait_flowing(30)
    try:
        pause(0.5)
        for n in range(rounds):
            problem = event(n)
            result.events += 1
            if problem:
                result.notes.append(f"event {n}: {problem}")
            pause(rest)
        settle(result, subject)
        report = client.stop()
    finally:
        client.kill()
    return judge(result, report, excuse)


def scaling(subject, rounds, rest=0.1):
    """Scale-downs to 1, 2 or 3 of four, each followed by a scale-up."""
    choice = random.Random(3)

    def event(_):
        down = subject.scale(choice.randint(1, subject.most - 1))
        pause(rest)
        up = subject.scale(subject.most)
        return None if down and up else "was not reported as done"
    return repeated(subject, rounds, event, rest)


def reloads(subject, rounds, rest=0.1):
    return repeated(subject, rounds,
                    lambda _: None if subject.reload() else "was reported as failed", rest)


def reloads_broken(subject, rounds, rest=0.2):
    """A configuration with a mistake: refused, and the caller is told."""
    return repeated(subject, rounds, lambda _: "was reported as done" if subject.reload_broken()
                    else None, rest)


def reloads_crashing(subject, rounds, rest=0.2):
    """New workers crash at start: taken back, and the caller is told."""
    return repeated(subject, rounds, lambda _: "was reported as done" if subject.reload_crashing()
                    else None, rest)


def upgrades(subject, rounds, rest=0.3):
    """The binary is replaced on disk, and taken into use."""
    return repeated(subject, rounds, lambda _: subject.upgrade(), rest)


def master_kills(subject, rounds, rest=0.3):
    """kill -9 of the master; a new one is started at once."""
    return repeated(subject, rounds, lambda _: subject.kill_master(), rest)


def worker_kills(subject, rounds, rest=0.2):
    """kill -9 of a random worker. Requests on connections that it held are excused: they were in
    flight in it. Every second one is stopped first, so that what it held is known exactly."""
    choice, kills, killed = random.Random(2), [], set()

    def event(n):
        pid = harness.wait_until(
            lambda: choice.choice([pid for pid in subject.workers() if pid not in killed] or [0]),
            20, "a worker is there")
        done = survival.kill(pid, stop_first=n % 2 == 1)
        killed.add(pid)
        if done is None:
            return "the worker was gone"
        kills.append(done)
        subject.after_kill()
        return None
    return repeated(subject, rounds, event, rest, lambda failure: not failure["what"].startswith(
        "connect_") and any(kill.explains(failure) for kill in kills))


def worker_stops(subject, rounds, seconds=5.0, rest=1.0):
    """SIGSTOP of a worker. `longest wait` is that of a new connection begun after the signal."""
    stops = []

    def event(n):
        pids = sorted(subject.workers())
        pid = pids[n % len(pids)]
        since = time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        try:
            pause(seconds)
        finally:
            harness.kill(pid, signal.SIGCONT)
        stops.append((since, time.monotonic(), pid))
    result = repeated(subject, rounds, event, rest)
    begun_after = [slow["took_ms"] for slow in result.slow
                   if any(since < slow["due"] < until for since, until, _ in stops)]
    begun_before = [slow["took_ms"] for slow in result.slow
                    if any(slow["due"] <= since < slow["due"] + slow["took_ms"] / 1000
                           for since, _, _ in stops)]
    result.extra["begun before the stop, waited"] = len(begun_before)
    result.extra["begun after, waited above 100 ms"] = len(begun_after)
    result.longest_new_ms = max(begun_after, default=0.0) or min(result.longest_new_ms, SLOW_MS)
    return result


def restarts(subject, rounds, rest=0.5):
    """A graceful stop, then a start. A connection that is refused after the port was closed and
    before the server listens again is excused: nobody was there to take it. Everything that was
    accepted before, or is reset, or waits for an answer in vain, counts."""
    closed = []

    def event(_):
        done = subject.restart(lambda: closed.append([time.monotonic(), float("inf")]))
        closed[-1][1] = time.monotonic()
        return None if done else "the exit status was not 0"

    def excuse(failure):
        # A refusal may come a second after the connection was begun: the SYN was sent again.
        return failure["what"] == "connect_refused" and any(
            since <= failure["at"] and failure["at"] - failure["age_ms"] / 1000 <= until
            for since, until in closed)
    return repeated(subject, rounds, event, rest, excuse)


# ---- rows about who gets a connection ----

SLOW_CLIENTS = 2
SLOW_REQUEST = b"GET /test/stall?ms=50 HTTP/1.1\r\nHost: x\r\n\r\n"


class SlowRequests(threading.Thread):
    """Clients that keep one worker busy: it needs tests/tools/test_worker.c. The worker sleeps for
    50 ms in each of their requests, and so does everybody else on it."""

    def __init__(self, subject, pid):
        super().__init__(daemon=True)
        self.ended, self.answered = threading.Event(), 0
        self.connections = []
        harness.wait_until(lambda: self.connect(subject, pid), 20, "connections to one worker")

    def connect(self, subject, pid):
        connection = harness.Connection((subject.host, subject.port), timeout=30)
        if connection.request("GET", "/hello").status == 200 and \
                connection.sock.getsockname()[1] in harness.peer_ports(pid):
            self.connections.append(connection)
        else:
            connection.close()
        return len(self.connections) == SLOW_CLIENTS

    def run(self):
        for connection in self.connections:
            connection.send(SLOW_REQUEST)
        while not self.ended.is_set():
            for connection in self.connections:
                connection.read_response()
                self.answered += 1
                connection.send(SLOW_REQUEST)

    def stop(self):
        self.ended.set()
        self.join()
        for connection in self.connections:
            connection.close()


def slow_worker(subject, seconds):
    """One worker is busy with slow requests; how long do the clients of the cluster wait?"""
    result = Result(subject.name)
    slow = SlowRequests(subject, sorted(subject.workers())[0])
    slow.start()
    try:
        pause(1)  # measured is how it is, not how it becomes
        client = subject.load("--duration", seconds)
        report = client.result(seconds + 60)
    finally:
        slow.stop()
    result.events = slow.answered
    judge(result, report)
    wait = report["kinds"]["new"]["latency_us"]
    result.extra.update({name: wait[name] / 1000 for name in ("p50", "p90", "p99", "p999")})
    return result


def long_lived(subject, count, open_rate=1000):
    """`count` connections are opened, and stay, while workers come and go; the last two fifths are
    opened when that is over. How evenly do they lie on the workers in the end? A connection whose
    worker leaves is opened again at the same pace; each asks for something every five seconds, and looks
    first whether it was closed in between, as connection pools do."""
    result = Result(subject.name)
    choice = random.Random(5)
    subject.load_size = {"new_rate": 0, "keepalive": count, "keepalive_rate": count / 5}
    client = subject.load("--open-rate", open_rate, "--check-idle")

    def held():
        return [len(harness.peers(pid)) for pid in subject.workers()]
    try:
        for _ in range(max(2, int(0.6 * count / open_rate))):
            subject.scale(choice.randint(2, subject.most - 1))
            pause(0.5)
            subject.scale(subject.most)
            result.events += 2
            pause(0.5)
        subject.wait_workers()
        harness.wait_until(lambda: sum(held()) >= count, 120, "all are open", interval=0.5)
        spread = held()
        report = client.stop()
    finally:
        client.kill()
    judge(result, report)
    even = sum(spread) / len(spread)
    result.extra.update({"held": spread, "from even": max(abs(n - even) for n in spread) / even})
    return result
