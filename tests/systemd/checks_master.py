# SPDX-License-Identifier: BSD-2-Clause
"""The death of the master, of everybody, and the master's replacement by a new binary."""
import pathlib
import re
import shutil
import signal
import socket
import time

import client
import unit
from checks import check

MUSTERD = pathlib.Path("/usr/sbin/musterd")


def adopted(workers, journal):
    """Every worker of before serves on, and nobody else does."""
    unit.wait_until(lambda: unit.musterctl("health", check=False).returncode == 0, "it is healthy again")
    assert unit.workers() == workers, (workers, unit.workers())
    pids = sorted(worker["pid"] for worker in unit.status()["workers"] if worker.get("pid"))
    assert pids == workers, (pids, workers)
    assert not journal.has("address already in use")


@check("kill -9 of the master: the workers serve on, a new master adopts them")
def kill_master(journal):
    master, workers = unit.start(), unit.workers()
    with client.Load() as load:
        load.wait(500)
        before = unit.counters()
        started = time.monotonic()
        unit.kill(master)
        new = unit.wait_running(after=master)
        took = time.monotonic() - started
        load.wait(500)
        adopted(workers, journal)
        lost = unit.fallen(before, unit.counters())
    load.check()
    assert not lost, f"counters fell: {lost}"
    unit.kill(workers[0], signal.SIGTERM)
    journal.wait("info worker ", "draining")
    for line in journal.lines():
        assert not line.startswith(("<", "20")), f"a worker does not write for the journal: {line}"
    assert new != master and unit.show("NRestarts") == "1"
    return f"a new one is ready after {1000 * took:.0f} ms, {load.answered} requests, none failed"


@check("kill -9 of the master, five times: never given up, no worker restarted")
def kill_master_often(journal):
    master, workers = unit.start(), unit.workers()
    with client.Load() as load:
        for _ in range(5):
            unit.kill(master)
            master = unit.wait_running(after=master)
            load.wait(50)
        adopted(workers, journal)
    load.check()
    return f"{load.answered} requests, none failed"


@check("kill -9 of the master: reload, scale and stop work as before")
def kill_master_then(_):
    master, workers = unit.start(), unit.workers()
    unit.kill(master)
    unit.wait_running(after=master)
    unit.musterctl("scale", "3")
    unit.wait_until(lambda: len(unit.workers()) == 3, "a third worker")
    unit.systemctl("reload", unit.SERVICE)
    unit.wait_until(lambda: not set(workers) & set(unit.workers()), "new workers")
    unit.systemctl("stop", unit.SERVICE)
    assert unit.show("Result") == "success" and not unit.processes()
    assert client.refused()


@check("kill -9 of the master with a broken configuration: the workers serve on, then it is adopted")
def kill_master_broken(journal):
    master, workers = unit.start(), unit.workers()
    unit.configure("nonsense = 1\n")
    unit.kill(master)
    unit.wait_until(lambda: unit.is_state("failed"), "the unit fails")
    journal.wait("muster.conf:1", "nonsense")
    for _ in range(20):
        assert client.is_whole(client.get())
    unit.configure()
    unit.systemctl("reset-failed", unit.SERVICE)
    unit.systemctl("start", unit.SERVICE)
    adopted(workers, journal)


@check("watchdog: a master that stands still is killed, the workers are adopted")
def watchdog(journal):
    unit.override("[Service]\nWatchdogSec=1s\nTimeoutAbortSec=1s\n")
    master, workers = unit.start(), unit.workers()
    time.sleep(2.2)  # longer than the time-out: as long as it runs it is left alone
    assert unit.main_pid() == master, "a healthy master was killed"
    unit.hold(master)
    with client.Load() as load:
        unit.wait_running(after=master)
        load.wait(50)
    load.check()
    journal.wait("Watchdog timeout")
    adopted(workers, journal)
    return f"{load.answered} requests meanwhile, none failed"


@check("kill -9 of everything: starts again by itself")
def kill_all(_):
    master, workers = unit.start(), unit.workers()
    unit.systemctl("kill", "-s", "KILL", unit.SERVICE)
    unit.wait_running(after=master)
    assert not set(workers) & set(unit.workers())
    assert client.is_whole(client.get())


@check("kill -9 of everything: the port stays open, what waited is answered")
def kill_all_queued(_):
    unit.override("[Service]\nRestartSec=1s\n")
    master = unit.start()
    waiting = []
    for pid in unit.workers():
        unit.kill(pid, signal.SIGSTOP)  # stopped: what comes now stays in the queues
    for _ in range(20):
        connection = socket.create_connection(client.ADDRESS, timeout=unit.PATIENCE)
        connection.sendall(client.REQUEST)
        waiting.append(connection)
    unit.systemctl("kill", "-s", "KILL", unit.SERVICE)
    unit.wait_until(lambda: unit.is_state("activating", "auto-restart"), "everything is dead")
    assert not unit.processes()
    for _ in range(10):
        connection = socket.create_connection(client.ADDRESS, timeout=unit.PATIENCE)
        connection.sendall(client.REQUEST)
        waiting.append(connection)
    unit.wait_running(after=master)
    for connection in waiting:
        with connection:
            assert client.is_whole(client.read_answer(connection))
    with client.Load() as load:
        load.wait(100)
    load.check()
    return f"{len(waiting)} connections waited, all were answered"


@check("kill -9 of everything under load: nobody is refused")
def kill_all_load(_):
    master = unit.start()
    with client.Load() as load:
        unit.systemctl("kill", "-s", "KILL", unit.SERVICE)
        unit.wait_running(after=master)
        before = load.answered
        unit.wait_until(lambda: load.answered > before + 200, "answers again")
    refused = [failure for failure in load.failures if "Refused" in failure]
    assert not refused, refused[:5]
    assert len(load.failures) <= 8, load.failures
    return f"{load.answered} answered, {len(load.failures)} cut in flight, none refused"


@check("fd store: holds every socket, and none after a stop")
def fd_store(_):
    unit.start()
    wanted = 2 * (4 + 1)  # addresses, slots and the stopper
    unit.wait_until(lambda: unit.show("NFileDescriptorStore") == str(wanted), f"{wanted} sockets are stored")
    assert int(unit.show("FileDescriptorStoreMax")) >= wanted
    unit.systemctl("restart", unit.SERVICE)
    assert unit.show("NFileDescriptorStore") == str(wanted), unit.show("NFileDescriptorStore")
    unit.systemctl("stop", unit.SERVICE)
    assert unit.show("NFileDescriptorStore") == "0"
    assert client.refused()


def replace_binary(text):
    """A new binary on disk, as a package upgrade puts it there: renamed over the old one."""
    new = MUSTERD.with_suffix(".new")
    new.write_bytes(text)
    new.chmod(0o755)
    new.rename(MUSTERD)


@check("upgrade: the same main process runs the new binary, the workers are replaced")
def upgrade(_):
    master, workers = unit.start(), unit.workers()
    before_inode = pathlib.Path(f"/proc/{master}/exe").stat().st_ino
    with client.Load() as load:
        before = unit.counters()
        replace_binary(MUSTERD.read_bytes())
        unit.musterctl("upgrade")
        load.wait(100)
        lost = unit.fallen(before, unit.counters())
    load.check()
    assert not lost, f"counters fell: {lost}"
    assert unit.main_pid() == master and unit.is_state("active", "running")
    assert pathlib.Path(f"/proc/{master}/exe").stat().st_ino != before_inode, "still the old binary"
    unit.wait_until(lambda: not set(workers) & set(unit.workers()), "new workers")
    assert unit.show("NRestarts") == "0"
    return f"{load.answered} requests, none failed"


@check("upgrade: a binary that cannot start changes nothing and is reported")
def upgrade_broken(_):
    backup = MUSTERD.with_suffix(".good")
    shutil.copy2(MUSTERD, backup)
    try:
        master, workers = unit.start(), unit.workers()
        replace_binary(b"#!/bin/false\n")
        done = unit.musterctl("upgrade", check=False)
        assert done.returncode != 0 and re.search(r"\w", done.stdout), done.stdout
        assert (unit.main_pid(), unit.workers()) == (master, workers)
        assert client.is_whole(client.get())
    finally:
        backup.rename(MUSTERD)
