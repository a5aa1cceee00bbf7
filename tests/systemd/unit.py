# SPDX-License-Identifier: BSD-2-Clause
"""muster.service as systemd sees it: its state, its processes, its journal, and ways to disturb it.

Runs as root inside the container that scripts/test-systemd boots.
"""
import ctypes
import json
import os
import pathlib
import signal
import subprocess
import time

SERVICE, SOCKET = "muster.service", "muster.socket"
CONFIG = pathlib.Path("/etc/muster/muster.conf")
RUN_DIR = pathlib.Path("/run/muster")
DROPINS = pathlib.Path("/run/systemd/system")
PORT = 3001
PATIENCE = 20.0  # seconds until something that takes milliseconds is given up

# What every check begins with: short pauses, so that a stop does not take seconds.
CONFIG_TEXT = """
workers = 2
max_workers = 4
drain_delay = 100ms
drain_idle_grace = 100ms
drain_timeout = 10s
canary_time = 200ms
orphan_timeout = 30s
route "/hello" { text = "hello\\n" }
"""


class Skip(Exception):
    """This machine, or this build, cannot show it; the text says why."""


def run(*command, check=True, timeout=60):
    """Runs a command and returns what it printed; both streams are in it."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          stdin=subprocess.DEVNULL, timeout=timeout, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout if check else done


def systemctl(*arguments, check=True):
    return run("systemctl", *arguments, check=check)


def musterctl(*arguments, check=True):
    return run("musterctl", "--socket", str(RUN_DIR / "muster.sock"), *arguments, check=check)


def wait_until(condition, what, timeout=PATIENCE):
    """Polls until condition() is true and returns what it returned."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:.0f} s: {what}")
        time.sleep(0.01)
    return value


# ---- state ----

def show(name, unit=SERVICE):
    return systemctl("show", "--value", "-p", name, unit).strip()


def main_pid():
    return int(show("MainPID"))


def is_state(active, sub=None):
    return show("ActiveState") == active and (sub is None or show("SubState") == sub)


def wait_running(after=0):
    """Waits until the service runs under a main process other than `after`, which is returned."""
    def running():
        pid = main_pid()
        return pid if pid not in (0, after) and is_state("active", "running") else 0
    return wait_until(running, f"{SERVICE} runs with a new main process")


def cgroup():
    """The directory with cgroup.procs of the service; None when it has no process and was removed."""
    path = show("ControlGroup")
    for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"):
        directory = pathlib.Path(root + path)
        if path and (directory / "cgroup.procs").exists():
            return directory
    return None


def processes():
    """The process numbers of the service, the master included."""
    directory = cgroup()
    try:
        return [int(line) for line in (directory / "cgroup.procs").read_text().split()] if directory else []
    except OSError:
        return []


def name_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def workers():
    """The process numbers of the workers, sorted. One that is being born still has another name."""
    return sorted(pid for pid in processes() if name_of(pid).startswith("muster-w"))


def status():
    return json.loads(musterctl("--json", "status"))


def counters():
    """Every counter of /metrics, by its name and labels."""
    found, kinds = {}, {}
    for line in musterctl("metrics").splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            kinds[name] = kind
        elif line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            base = name.split("{")[0]
            if kinds.get(base, kinds.get(base.rsplit("_", 1)[0])) in ("counter", "histogram"):
                found[name] = float(value)
    return found


def fallen(before, after):
    """The counters that are smaller than before, or gone."""
    return {name: (value, after.get(name)) for name, value in before.items()
            if after.get(name, -1.0) < value}


# ---- the journal ----

class Journal:
    """The entries of the service, and of systemd about it, from now on."""

    def __init__(self):
        self.cursor = ""
        self.cursor = ([""] + self.entries("-n", "1"))[-1]
        self.cursor = self.cursor["__CURSOR"] if self.cursor else ""

    def entries(self, *arguments):
        run("journalctl", "--sync")
        after = ["--after-cursor=" + self.cursor] if self.cursor else []
        text = run("journalctl", "-q", "-o", "json", "-u", SERVICE, *after, *arguments)
        return [json.loads(line) for line in text.splitlines()]

    def lines(self):
        return [entry["MESSAGE"] for entry in self.entries() if isinstance(entry["MESSAGE"], str)]

    def has(self, *words):
        return any(all(word in line for word in words) for line in self.lines())

    def wait(self, *words):
        wait_until(lambda: self.has(*words), f"a line in the journal with {', '.join(words)}")


# ---- changing it ----

def configure(text=CONFIG_TEXT):
    CONFIG.parent.mkdir(exist_ok=True)
    CONFIG.write_text(text)


def override(text, unit=SERVICE):
    """A drop-in for this check; clean() removes it."""
    directory = DROPINS / (unit + ".d")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "check.conf").write_text(text)
    systemctl("daemon-reload")


def clean():
    """Stopped, nothing left over, no drop-ins: what every check begins with."""
    for unit in (SOCKET, SERVICE):
        systemctl("kill", "-s", "KILL", unit, check=False)
        systemctl("stop", unit, check=False)
    wait_until(lambda: not processes(), "every process of the service is gone")
    changed = False
    for unit in (SERVICE, SOCKET):
        dropin = DROPINS / (unit + ".d") / "check.conf"
        if dropin.exists():
            dropin.unlink()
            changed = True
    if changed:
        systemctl("daemon-reload")
    systemctl("reset-failed", check=False)
    for file in RUN_DIR.glob("*"):  # what a cluster that was killed would tell the next one
        file.unlink()
    configure()


def start(text=CONFIG_TEXT):
    configure(text)
    systemctl("start", SERVICE)
    return main_pid()


def hold(pid):
    """Stops a process as a debugger does, until it is killed: not even SIGCONT, which systemd sends
    along with SIGTERM and SIGABRT, makes it run. Needs a process of its own, which waits for its end
    (the parent is not told before)."""
    seize, interrupt, set_death_signal = 0x4206, 0x4207, 1
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    told, tell = os.pipe()
    if os.fork() == 0:
        libc.prctl(set_death_signal, signal.SIGKILL)
        if libc.ptrace(seize, pid, None, None) != 0 or libc.ptrace(interrupt, pid, None, None) != 0:
            os._exit(1)
        os.waitpid(pid, 0)
        os.write(tell, b"y")
        os.waitpid(pid, 0)
        os._exit(0)
    os.close(tell)
    with open(told, "rb") as end:
        if not end.read(1):
            raise Skip("ptrace is not allowed here")


def kill(pid, number=signal.SIGKILL):
    os.kill(pid, number)
