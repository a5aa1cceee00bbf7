# SPDX-License-Identifier: BSD-2-Clause
"""Killing workers under load, and finding out whose each failure was."""
import dataclasses
import os
import pathlib
import random
import re
import signal
import threading
import time

import harness


@dataclasses.dataclass
class Kill:
    """One kill -9. `ports`: the clients' ports of the connections that the worker held. They are
    known exactly when it was stopped first; otherwise it may have accepted a few more before the
    signal came. None: only root may look, so time has to do."""
    before: float
    after: float
    pid: int
    ports: set
    exact: bool

    def explains(self, failure):
        """Whether a failure is that of a connection of this worker."""
        opened = failure["at"] - failure["age_ms"] / 1000
        if failure["at"] < self.before or opened > self.after:
            return False
        if self.ports is None:
            return failure["at"] < self.after + SOON_AFTER
        return failure["port"] in self.ports or (not self.exact and
                                                 opened > self.before - JUST_BEFORE)


JUST_BEFORE = 0.05 * harness.PATIENCE
SOON_AFTER = 0.5 * harness.PATIENCE


def kill(pid, stop_first):
    """Kills a worker; None when it was gone already."""
    before = time.monotonic()
    if stop_first:
        if not harness.kill(pid, signal.SIGSTOP):
            return None
        harness.wait_until(lambda: (harness.process_stat(pid) or "Z")[0] in "TZ", 5, "it stopped",
                           interval=0.0005)
    try:
        ports = harness.peer_ports(pid)
    except PermissionError:
        ports = None
    except OSError:
        return None
    if not stop_first:
        before = time.monotonic()
    if not harness.kill(pid):
        return None
    return Kill(before, time.monotonic(), pid, ports, stop_first)


class Poller(threading.Thread):
    """Reads /metrics again and again; remembers every counter that fell."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster, self.ended = cluster, threading.Event()
        self.fallen, self.polls, self.error = [], 0, None

    def run(self):
        last = {}
        try:
            while not self.ended.wait(0.1):
                text = self.cluster.management("GET", "/metrics", over_socket=True).text
                now = counters(text)
                self.fallen += [(name, value, now.get(name)) for name, value in last.items()
                                if now.get(name, -1) < value]
                last = now
                self.polls += 1
        except Exception as error:  # pylint: disable=broad-except; reported by the test
            self.error = error

    def stop(self):
        self.ended.set()
        self.join()
        assert self.error is None, self.error


def counters(text):
    """The samples of /metrics that may only grow."""
    families = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    growing = {}
    for name, value in harness.parse_metrics(text).items():
        base = name.split("{")[0]
        family = re.sub(r"_(bucket|sum|count)$", "", base)
        if families.get(base) == "counter" or families.get(family) == "histogram":
            if 'process="worker-' not in name:
                growing[name] = value
    return growing


def run(cluster, client, seconds, interval=0.2, seed=2):
    """Kills a random READY worker every `interval`; (kills, poller, report of the client)."""
    choice = random.Random(seed)
    poller = Poller(cluster)
    poller.start()
    kills, killed = [], set()
    watch = harness.Watch()
    due = 0.0
    while watch.seconds < seconds:
        harness.wait_until(lambda: watch.seconds >= due, 5, interval=0.002)
        due = max(due + interval, watch.seconds)
        # The master may not have noticed the last kill yet.
        ready = [worker["pid"] for worker in cluster.workers().values()
                 if worker["state"] == "ready" and worker["pid"] not in killed]
        if not ready:
            continue
        done = kill(choice.choice(ready), stop_first=len(kills) % 2 == 1)
        if done is not None:
            kills.append(done)
            killed.add(done.pid)
    # The last kill's failures belong to it: the load ends a little later.
    harness.wait_until(lambda: watch.seconds >= seconds + 0.5, 5)
    report = client.stop()
    poller.stop()
    return kills, poller, report


def unexplained(kills, report):
    """Failures that are not those of a connection of a worker that was killed."""
    return [failure for failure in report["failures"]
            if failure["what"].startswith("connect_")
            or not any(kill.explains(failure) for kill in kills)]


def connections_failed(report):
    return {name: sum(kind[what] for kind in report["kinds"].values())
            for name, what in (("refused", "connect_refused"), ("timed out", "connect_timeout"),
                               ("reset", "connect_reset"), ("other", "connect_other"))}


def settled_total(cluster, what="muster_http_requests_answered_total"):
    """A counter, once it has stopped growing for a few report intervals."""
    seen = {"value": -1, "since": time.monotonic()}

    def settled():
        value = cluster.metrics()[what]
        if value != seen["value"]:
            seen.update(value=value, since=time.monotonic())
        return time.monotonic() - seen["since"] > 0.6 * harness.PATIENCE
    harness.wait_until(settled, 15, "the counter settles", interval=0.05)
    return seen["value"]


def open_files(pid):
    return len(os.listdir(pathlib.Path(f"/proc/{pid}/fd")))
