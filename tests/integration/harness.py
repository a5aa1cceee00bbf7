# SPDX-License-Identifier: BSD-2-Clause
"""Starting a real musterd on free ports in a directory of its own, and talking to it.

Nothing here sleeps for a guessed time: wait_until() polls a condition with a deadline.
"""
import contextlib
import ctypes
import errno
import http.client
import json
import os
import pathlib
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN_DIR = pathlib.Path(os.environ.get("MUSTER_BIN_DIR", ROOT / "build/bin"))
TOOLS_DIR = pathlib.Path(os.environ.get("MUSTER_TOOLS_DIR", BIN_DIR.parent / "tests"))
MUSTERD = BIN_DIR / "musterd"
MUSTERCTL = BIN_DIR / "musterctl"
WORKER = BIN_DIR / "muster-worker"
OLD_WORKER = TOOLS_DIR / "muster-old-worker"  # speaks the contract one version older
TEST_WORKER = TOOLS_DIR / "muster-test-worker"  # has /test/slow, /test/stall, /test/spin …
SANITIZE = bool(os.environ.get("MUSTER_SANITIZE"))
NOBODY = 65534
PIDFD_GETFD = 438  # the system call; Python has no function for it
PATIENCE = 4 if SANITIZE else 1  # how much slower everything may be
TOKEN = "an-integration-test-token"

# What must never be in a log, whatever a test does to the cluster.
FORBIDDEN = re.compile(r"(ERROR|SUMMARY): (Address|Leak|UndefinedBehavior)Sanitizer|runtime error:|"
                       r"\bbug:|illegal state")


def adopt_orphans():
    """Processes whose parent dies become our children, so that they can be found and ended."""
    ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def wait_until(condition, timeout=10.0, what=None, interval=0.01):
    """Polls until condition() is true and returns what it returned; AssertionError at the deadline."""
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            text = what() if callable(what) else what
            raise AssertionError(f"not within {timeout * PATIENCE:.0f} s: {text or condition}")
        select.select([], [], [], interval)


class Watch:
    """How long ago it was made."""

    def __init__(self):
        self.started = time.monotonic()

    @property
    def seconds(self):
        return time.monotonic() - self.started


def free_port():
    """A free TCP port below the range that the kernel gives to outgoing connections."""
    while True:
        port = random.randint(15000, 31999)
        try:
            for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                with socket.socket(family, socket.SOCK_STREAM) as probe:
                    if family == socket.AF_INET6:
                        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    probe.bind((address, port))
            return port
        except OSError:
            continue


# ---- /proc ----

def process_stat(pid):
    """The fields of /proc/PID/stat behind the command name, or None."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2:].split()


def process_alive(pid):
    fields = process_stat(pid)
    return fields is not None and fields[0] not in "ZX"


def kill(pid, sig=signal.SIGKILL):
    """Sends a signal; False when the process is gone."""
    try:
        os.kill(pid, sig)
        return True
    except ProcessLookupError:
        return False


def cpu_seconds(pid):
    """User and system time of a process so far."""
    fields = process_stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peers(pid):
    """The remote addresses and ports of the TCP connections that a process holds."""
    found = set()
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            fd = libc.syscall(PIDFD_GETFD, pidfd, int(name), 0)
            if fd < 0:
                if ctypes.get_errno() == errno.EBADF:
                    continue  # closed since it was listed
                raise OSError(ctypes.get_errno(), f"descriptor {name} of process {pid}")
            try:
                with socket.socket(fileno=fd) as sock:
                    if sock.family in (socket.AF_INET, socket.AF_INET6):
                        found.add(sock.getpeername()[:2])
            except OSError as error:
                if error.errno == errno.ENOTSOCK:
                    os.close(fd)
                elif error.errno != errno.ENOTCONN:  # a listener, or reset by its client
                    raise
    finally:
        os.close(pidfd)
    return found


def peer_ports(pid):
    """Only the ports."""
    return {port for _, port in peers(pid)}


# ---- HTTP ----

class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        return json.loads(self.body)


class Connection:
    """A TCP or Unix connection on which tests send what they like."""

    def __init__(self, address, timeout=10.0):
        if isinstance(address, (str, pathlib.Path)):
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(timeout * PATIENCE)
            self.sock.connect(str(address))
        else:
            self.sock = socket.create_connection(address, timeout * PATIENCE)
        self.file = self.sock.makefile("rb", buffering=65536)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def request(self, method, path, headers=None, body=None):
        """Sends a request and reads its answer."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
        return self.read_response(method)

    def read_response(self, method="GET"):
        """The next answer; ConnectionError when the connection ends first."""
        response = http.client.HTTPResponse(self._keep_open(), method=method)
        try:
            response.begin()
        except http.client.BadStatusLine as error:
            raise ConnectionError(f"no answer: {error!r}") from error
        return Response(response.status, response.headers, response.read())

    def _keep_open(self):
        file = self.file

        class Borrowed:
            def makefile(self, *_):
                return self

            def __getattr__(self, name):
                return getattr(file, name)

            def close(self):
                pass

            def flush(self):
                pass
        return Borrowed()

    def at_end(self):
        """Waits for the server to close: True at a clean end, False after a reset."""
        try:
            return self.file.read() == b""
        except ConnectionResetError:
            return False


@contextlib.contextmanager
def sending(sock, data):
    """Sends in the background, so that answers can be read at the same time."""
    thread = threading.Thread(target=sock.sendall, args=(data,), daemon=True)
    thread.start()
    yield
    thread.join()


# ---- configuration ----

def config_text(config):
    """{"workers": 2, "http": {…}, ("route", "/x"): {…}} as a configuration file."""
    def value_text(value):
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int):
            return str(value)
        text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{text}"'

    lines = []
    for key, value in config.items():
        if not isinstance(value, dict):
            lines.append(f"{key} = {value_text(value)}")
            continue
        head = f'{key[0]} "{key[1]}"' if isinstance(key, tuple) else key
        lines.append(head + " {")
        lines += [f"    {name} = {value_text(item)}" for name, item in value.items()]
        lines.append("}")
    return "\n".join(lines) + "\n"


def merge(base, overrides):
    """A section in overrides adds to that of base; None takes a key or section away."""
    result = {key: dict(value) if isinstance(value, dict) else value for key, value in base.items()}
    for key, value in overrides.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merge(result[key], value)
        else:
            result[key] = value
    return result


class Cluster:
    """A musterd of its own. Use the fixtures of conftest.py, which also end it."""

    def __init__(self, config=None, env=None, args=(), use_config_file=True, prefix=(),
                 pass_fds=(), preexec=None):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="muster-test-", dir="/tmp"))
        self.dir.chmod(0o755)  # workers that gave up root must reach it
        self.run_dir = self.dir / "run"
        self.port, self.management_port = free_port(), free_port()
        while self.management_port == self.port:
            self.management_port = free_port()
        self.token = TOKEN
        self.config_path = self.dir / "muster.conf"
        self.log_path = self.dir / "log"
        self.program = MUSTERD
        self.args, self.use_config_file, self.prefix = list(args), use_config_file, list(prefix)
        self.env, self.pass_fds, self.preexec = dict(env or {}), tuple(pass_fds), preexec
        self.allowed = []       # regular expressions of log lines that FORBIDDEN does not apply to
        self.expect_status = 0  # what musterd is to exit with
        self.process = None
        self.config = merge({
            "workers": 2,
            "run_dir": self.run_dir,
            "drain_delay": "100ms",
            "drain_timeout": "10s",
            "drain_idle_grace": "200ms",
            "canary_time": "200ms",
            ("listen", "default"): {"address": "127.0.0.1", "port": self.port},
            ("route", "/hello"): {"text": "hello\n"},
            "management": {"port": self.management_port, "token": self.token},
        }, self.base_overrides())
        self.config = merge(self.config, config or {})

    @staticmethod
    def base_overrides():
        # LeakSanitizer cannot look at a process that has changed its user.
        return {"user": "root"} if SANITIZE and os.geteuid() == 0 else {}

    def become_ordinary_user(self):
        """musterd will run as nobody; the caller is root."""
        self.config.pop("user", None)
        os.chown(self.dir, NOBODY, NOBODY)
        before = self.preexec

        def drop():
            if before:
                before()
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        self.preexec = drop

    # ---- life ----

    def write_config(self, **overrides):
        """Writes the configuration file, after merging in overrides for good."""
        self.config = merge(self.config, overrides)
        self.config_path.write_text(config_text(self.config))
        return self.config_path

    def command(self, *args):
        config = ["-c", str(self.config_path)] if self.use_config_file else []
        return [*self.prefix, str(self.program), *config, *self.args, *args]

    def environment(self):
        names = ("PATH", "HOME", "LANG", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS")
        return {**{name: os.environ[name] for name in names if name in os.environ}, **self.env}

    def spawn(self):
        """Starts musterd and does not wait for anything."""
        if self.use_config_file:
            self.write_config()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.environment(), pass_fds=self.pass_fds, preexec_fn=self.preexec,
                cwd=self.dir)
        return self

    def start(self, timeout=15.0):
        """Starts musterd and waits until all workers that are wanted are READY."""
        self.spawn()
        self.wait_ready(timeout)
        return self

    def run(self, *args, timeout=20):
        """Runs musterd to its end, for what it prints and exits with."""
        if self.use_config_file and not self.config_path.exists():
            self.write_config()
        return subprocess.run(self.command(*args), env=self.environment(), capture_output=True,
                              text=True, timeout=timeout * PATIENCE, cwd=self.dir,
                              pass_fds=self.pass_fds, preexec_fn=self.preexec, check=False)

    def is_ready(self):
        assert self.process.poll() is None, f"musterd exited with {self.process.returncode}"
        try:
            status = self.status()
        except (OSError, http.client.HTTPException):
            return False
        counts = status["worker_counts"]
        return (status["state"] == "running" and counts["ready"] == counts["desired"]
                and counts["draining"] == 0 and status)

    def wait_managed(self, timeout=10.0):
        """Waits until the management socket answers, whatever the workers do."""
        def managed():
            try:
                return self.status()
            except OSError:
                assert self.process.poll() is None, f"musterd exited with {self.process.returncode}"
                return False
        return wait_until(managed, timeout, "the cluster can be managed")

    def wait_ready(self, timeout=15.0):
        return wait_until(self.is_ready, timeout, "the cluster is ready")

    def send_signal(self, number):
        self.process.send_signal(number)

    def wait_exit(self, timeout=20.0):
        return self.process.wait(timeout * PATIENCE)

    def stop(self, sig=signal.SIGTERM, timeout=20.0):
        """Ends musterd with a signal; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.wait_exit(timeout)

    def kill_master(self):
        """kill -9; the workers go on by themselves. The pid it had."""
        self.process.kill()
        self.process.wait()
        return self.process.pid

    def close(self):
        """Ends everything and checks what was left behind; called by the fixtures."""
        problems = []
        if self.process is not None:
            if self.process.poll() is None:
                try:
                    self.stop()
                except subprocess.TimeoutExpired:
                    problems.append("SIGTERM did not end musterd")
            if not problems and self.process.returncode != self.expect_status:
                problems.append(f"musterd exited with {self.process.returncode}, "
                                f"not {self.expect_status}")
            try:
                wait_until(lambda: not self.processes(), 3, "its processes are gone")
            except AssertionError:
                problems.append(f"left over: {self.processes()}")
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            problems += self.bad_log_lines()
        assert not problems, "; ".join(problems)

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)

    def processes(self):
        """Living processes that were started for this cluster."""
        found = {}
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                arguments = pathlib.Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            if str(self.dir).encode() in arguments and process_alive(name):
                found[int(name)] = arguments.replace(b"\0", b" ").decode(errors="replace")
        return found

    # ---- logs ----

    def log_text(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_lines(self, pattern):
        return [line for line in self.log_text().splitlines() if re.search(pattern, line)]

    def wait_log(self, pattern, timeout=10.0, count=1):
        return wait_until(lambda: len(self.log_lines(pattern)) >= count and self.log_lines(pattern),
                          timeout, f"{count} log lines with {pattern!r}")

    def bad_log_lines(self):
        return [line for line in self.log_lines(FORBIDDEN)
                if not any(re.search(allowed, line) for allowed in self.allowed)]

    # ---- talking to it ----

    @property
    def address(self):
        return ("127.0.0.1", self.port)

    @property
    def management_socket(self):
        return self.run_dir / "muster.sock"

    def connect(self, timeout=10.0):
        return Connection(self.address, timeout)

    def get(self, path, headers=None):
        """One request on a connection of its own to the public port."""
        with self.connect() as connection:
            return connection.request("GET", path, {"Connection": "close", **(headers or {})})

    def management(self, method, path, body=None, headers=None, token=True, over_socket=False):
        """One request to the management port, or to the Unix socket."""
        headers = {"Connection": "close", **(headers or {})}
        if token and not over_socket:
            headers["Authorization"] = f"Bearer {self.token}"
        if body is not None:
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        elif method not in ("GET", "HEAD"):
            body = b""
            headers.setdefault("Content-Type", "application/json")
        address = self.management_socket if over_socket else ("127.0.0.1", self.management_port)
        with Connection(address) as connection:
            return connection.request(method, path, headers, body)

    def musterctl(self, *args, timeout=60):
        return subprocess.run([str(MUSTERCTL), "--socket", str(self.management_socket), *args],
                              env=self.environment(), capture_output=True, text=True,
                              timeout=timeout * PATIENCE, check=False)

    def status(self):
        return self.management("GET", "/cluster/status", over_socket=True).json

    def events(self, kind=None):
        """The last events, the newest first; all of them, or those of a kind."""
        events = self.management("GET", "/events", over_socket=True).json
        return [event for event in events if kind in (None, event["kind"])]

    def workers(self):
        """What /cluster/status says of each slot, by slot."""
        return {worker["slot"]: worker for worker in self.status()["workers"]}

    def worker_pids(self):
        return [worker["pid"] for worker in self.workers().values() if worker["pid"]]

    def worker_pid(self, slot):
        return self.workers()[slot]["pid"]

    def kill_worker(self, slot, sig=signal.SIGKILL):
        """Sends a signal to the worker in a slot; its pid."""
        pid = self.worker_pid(slot)
        os.kill(pid, sig)
        return pid

    def wait_replaced(self, slot, old_pid, timeout=10.0):
        """Waits until another worker is READY in the slot; its pid."""
        def replaced():
            worker = self.workers().get(slot)
            return (worker and worker["state"] == "ready" and worker["pid"] != old_pid
                    and worker["pid"])
        return wait_until(replaced, timeout, f"slot {slot} has another worker than {old_pid}")

    def metrics(self):
        """{sample with its labels: value} of /metrics on the management port."""
        return parse_metrics(self.management("GET", "/metrics", over_socket=True).text)

    def load(self, *args, **options):
        """Starts the load client against the public port."""
        return Load(self.address, self.dir, *args, **options)


def parse_metrics(text):
    samples = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            samples[name] = float(value)
    return samples


class Load:
    """A running load client; see tests/tools/loadgen.c."""

    def __init__(self, address, directory, *args, path="/hello", body_bytes=6, prefix=()):
        self.ready_path = pathlib.Path(directory) / f"load-ready-{random.getrandbits(32):x}"
        self.process = subprocess.Popen(
            [*prefix, str(TOOLS_DIR / "loadgen"), "--host", address[0], "--port", str(address[1]),
             "--path", path, "--expect-body-bytes", str(body_bytes), "--track-pid",
             "--ready-file", str(self.ready_path), *map(str, args)],
            stdout=subprocess.PIPE, text=True)

    def wait_flowing(self, timeout=10.0):
        """Waits until every keep-alive connection has been answered once."""
        wait_until(self.ready_path.exists, timeout, "the load flows")
        return self

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.result()

    def result(self, timeout=60):
        """Waits for the end; the report as a dictionary."""
        output, _ = self.process.communicate(timeout=timeout * PATIENCE)
        assert self.process.returncode == 0, f"loadgen exited with {self.process.returncode}"
        return load_report(output)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def load_report(text):
    """What the load client printed, with the sum of what was answered."""
    report = json.loads(text)
    report["answered"] = sum(kind["answered"] for kind in report["kinds"].values())
    return report


def failures_text(report, limit=10):
    """What failed, for an assertion message."""
    kinds = {}
    for failure in report["failures"]:
        key = (failure["kind"], failure["what"])
        kinds[key] = kinds.get(key, 0) + 1
    return f"{report['failure_count']} failures: {kinds}; first: {report['failures'][:limit]}"
