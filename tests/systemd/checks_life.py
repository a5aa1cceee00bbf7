# SPDX-License-Identifier: BSD-2-Clause
"""The service when nothing is wrong: start, reload, the journal, the sandbox."""
import os
import pathlib
import re
import shutil
import signal
import socket
import stat
import time

import client
import unit
from checks import check


@check("units: systemd finds nothing to complain about")
def verify(_):
    said = unit.run("systemd-analyze", "verify", "--man=no", unit.SERVICE, unit.SOCKET).strip()
    assert not said, said


@check("start: returns when every worker answers, not earlier")
def start(_):
    unit.start(unit.CONFIG_TEXT.replace("workers = 2", "workers = 3", 1))
    answer = client.get(timeout=1)
    assert client.is_whole(answer), answer
    ready = unit.status()["worker_counts"]["ready"]
    assert ready == 3 == len(unit.workers()), (ready, unit.workers())
    assert unit.is_state("active", "running")


@check("start: systemctl status shows how many workers are ready")
def status_text(_):
    unit.start()
    text = unit.show("StatusText")
    assert re.search(r"[12] of 2 workers ready", text), text
    unit.wait_until(lambda: "2 of 2 workers ready" in unit.show("StatusText"), "two are ready")
    unit.musterctl("scale", "3")
    unit.wait_until(lambda: "3 of 3 workers ready" in unit.show("StatusText"), "the new status")
    return unit.show("StatusText")


@check("start: a configuration with mistakes fails at once and says file and line")
def start_broken(journal):
    unit.configure(unit.CONFIG_TEXT + "worker = 3\n")
    done = unit.systemctl("start", unit.SERVICE, check=False)
    assert done.returncode != 0, "systemctl start succeeded"
    journal.wait("muster.conf:10", "worker")
    assert unit.is_state("failed"), unit.show("ActiveState")
    assert unit.show("ExecMainStatus") == "78", unit.show("ExecMainStatus")
    assert unit.show("NRestarts") == "0", "it was tried again, which cannot help"
    unit.configure()
    unit.systemctl("start", unit.SERVICE)


@check("start: what fails again and again is given up after the start limit")
def start_limit(journal):
    unit.override("[Unit]\nStartLimitBurst=4\n")
    with socket.create_server(("0.0.0.0", unit.PORT)):
        done = unit.systemctl("start", unit.SERVICE, check=False)
        assert done.returncode != 0, "systemctl start succeeded on a taken port"
        unit.wait_until(lambda: unit.is_state("failed"), "the unit is given up")
    journal.wait("address already in use")
    tries = int(unit.show("NRestarts"))
    assert tries >= 3, tries
    journal.wait("Start request repeated too quickly")
    unit.systemctl("reset-failed", unit.SERVICE)
    unit.systemctl("start", unit.SERVICE)
    return f"after {tries} restarts"


@check("reload: a good configuration replaces the workers, the master stays")
def reload_good(_):
    master, before = unit.start(), unit.workers()
    with client.Load() as load:
        unit.configure(unit.CONFIG_TEXT.replace("hello\\n", "hello\\n").replace(
            'route "/hello"', 'route "/new" { text = "new" }\nroute "/hello"'))
        unit.systemctl("reload", unit.SERVICE)
        load.wait()
    load.check()
    assert unit.main_pid() == master
    unit.wait_until(lambda: not set(before) & set(unit.workers()), "the old workers leave")
    assert len(unit.workers()) == 2
    assert unit.is_state("active", "running")
    return f"{load.answered} requests, none failed"


@check("reload: a broken configuration fails, says why and changes nothing")
def reload_broken(journal):
    master, before = unit.start(), unit.workers()
    unit.configure(unit.CONFIG_TEXT + "no_such_key = 1\n")
    done = unit.systemctl("reload", unit.SERVICE, check=False)
    assert done.returncode != 0, "systemctl reload succeeded"
    journal.wait("muster.conf:10", "no_such_key")
    assert unit.is_state("active", "running")
    assert (unit.main_pid(), unit.workers()) == (master, before)
    assert client.is_whole(client.get())
    unit.configure()
    unit.systemctl("reload", unit.SERVICE)


@check("reload: SIGHUP tells systemd RELOADING, then READY")
def reloading(journal):
    unit.start()
    level, before = unit.systemctl("log-level").strip(), unit.workers()
    unit.systemctl("log-level", "debug")  # systemd writes down what it is told
    try:
        unit.kill(unit.main_pid(), signal.SIGHUP)
        unit.wait_until(lambda: not set(before) & set(unit.workers()), "the workers are replaced")
    finally:
        unit.systemctl("log-level", level)
    assert unit.is_state("active", "running")
    told = [line for line in journal.lines() if "Got notification message" in line]
    for words in (("RELOADING=1", "MONOTONIC_USEC="), ("READY=1", "STATUS=")):
        assert any(all(word in line for word in words) for line in told), told


@check("journal: one entry for each event, with its priority")
def journal_lines(journal):
    unit.start(unit.CONFIG_TEXT + "log { level = debug }\n")
    unit.kill(unit.workers()[0])
    unit.wait_until(lambda: len(unit.workers()) == 2, "the worker is replaced")
    unit.configure("nonsense = 1\n")
    unit.systemctl("reload", unit.SERVICE, check=False)
    journal.wait("reload", "nonsense")
    entries = [entry for entry in journal.entries() if entry.get("_COMM", "").startswith("muster")]
    assert entries, "nothing"
    for entry in entries:
        text = entry["MESSAGE"]
        assert not re.match(r"<\d>", text), text
        assert not text.startswith((" ", "\t")), text
        assert "\n" not in text, text
    words = {"3": "error", "4": "warning", "5": "notice", "6": "info", "7": "debug"}
    by_priority = {}
    for entry in entries:
        found = re.match(r"(?:\S+ )?\b(error|warning|notice|info|debug)\b", entry["MESSAGE"])
        if found:
            assert words.get(entry["PRIORITY"]) == found[1], entry
        by_priority.setdefault(entry["PRIORITY"], []).append(entry["MESSAGE"])
    assert {"3", "5", "6", "7"} <= set(by_priority), by_priority.keys()
    return ", ".join(f"priority {key}: {len(value)}" for key, value in sorted(by_priority.items()))


@check("journal: an error has priority 3")
def journal_error(journal):
    with socket.create_server(("0.0.0.0", unit.PORT)):
        unit.systemctl("start", unit.SERVICE, check=False)
    journal.wait("cannot start")
    entries = [entry for entry in journal.entries() if "cannot start" in str(entry["MESSAGE"])]
    assert {entry["PRIORITY"] for entry in entries} == {"3"}, entries


@check("SIGUSR1: the log file is opened again after it was moved away")
def reopen_log(_):
    log = pathlib.Path("/var/lib/muster/muster.log")
    unit.start(unit.CONFIG_TEXT + 'log { file = "/var/lib/muster/muster.log" }\n')
    unit.wait_until(lambda: log.exists() and "ready" in log.read_text(), "lines in the log file")
    moved = log.rename(log.with_suffix(".1"))
    unit.systemctl("kill", "-s", "USR1", "--kill-whom=main", unit.SERVICE)
    unit.wait_until(log.exists, "the file is there again")
    unit.musterctl("scale", "3")
    unit.wait_until(lambda: "scale" in log.read_text() or "slot" in log.read_text(), "new lines go there")
    size = moved.stat().st_size
    unit.musterctl("scale", "2")
    assert moved.stat().st_size == size, "the old file still grows"


def _owner(path):
    return os.stat(path).st_uid


@check("sandbox: no root, directories for nobody else, a good score")
def sandbox(_):
    master = unit.start()
    uid = os.stat(f"/proc/{master}").st_uid
    assert uid != 0 and all(os.stat(f"/proc/{pid}").st_uid == uid for pid in unit.workers())
    for path in ("/run/muster", "/var/lib/muster"):
        got = os.stat(path)
        assert (stat.S_IMODE(got.st_mode), got.st_uid) == (0o750, uid), (path, oct(got.st_mode))
    for name in ("muster.sock", "control.sock"):
        mode = stat.S_IMODE(os.stat(unit.RUN_DIR / name).st_mode)
        assert mode & 0o077 == 0, (name, oct(mode))
    process = pathlib.Path(f"/proc/{master}/status").read_text()
    assert re.search(r"^NoNewPrivs:\s+1$", process, re.M)
    assert re.search(r"^Seccomp:\s+2$", process, re.M), "no system call filter"
    bounding = int(re.search(r"^CapBnd:\s+(\w+)$", process, re.M)[1], 16)
    assert bounding == 1 << 10, f"more than CAP_NET_BIND_SERVICE: {bounding:x}"
    score = unit.run("systemd-analyze", "security", unit.SERVICE, check=False).stdout
    exposure = re.search(r"exposure level[^:]*: ([\d.]+)", score)
    assert exposure and float(exposure[1]) <= 2.0, score[-300:]
    return f"systemd-analyze security: {exposure[1]} of 10"


@check("sandbox: port 80 without root")
def low_port(_):
    unit.start(unit.CONFIG_TEXT + 'listen "low" { port = 80 }\n')
    assert client.is_whole(client.get(address=("127.0.0.1", 80)))


@check("DynamicUser: the user is the same after stop and start, and finds its files")
def dynamic_user(_):
    unit.start()
    uid = _owner(f"/proc/{unit.main_pid()}")
    assert 61184 <= uid <= 65519, f"not a dynamic user: {uid}"
    unit.systemctl("stop", unit.SERVICE)
    unit.systemctl("start", unit.SERVICE)
    assert _owner(f"/proc/{unit.main_pid()}") == uid
    assert _owner("/run/muster") == _owner("/var/lib/muster") == uid
    return f"uid {uid}"


@check("worker: kill -9 of one is answered within milliseconds, the service goes on")
def kill_worker(_):
    master, before = unit.start(), unit.workers()
    unit.kill(before[0])
    answer = client.get(timeout=2)
    assert client.is_whole(answer)
    unit.wait_until(lambda: len(unit.workers()) == 2 and before[0] not in unit.workers(), "a new worker")
    assert unit.main_pid() == master and unit.is_state("active", "running")


@check("install: the man pages and the example configuration are there and right")
def installed(_):
    for page in ("man8/musterd.8", "man1/musterctl.1", "man5/muster.conf.5"):
        assert (pathlib.Path("/usr/share/man") / page).stat().st_size > 0
    example = pathlib.Path("/usr/share/doc/muster/examples/muster.conf")
    shutil.copy(example, unit.CONFIG)
    unit.run("musterd", "-t")
    started = time.monotonic()
    unit.systemctl("start", unit.SERVICE)
    return f"the example starts in {1000 * (time.monotonic() - started):.0f} ms"
