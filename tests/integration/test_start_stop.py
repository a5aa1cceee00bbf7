# SPDX-License-Identifier: BSD-2-Clause
"""How musterd starts, what it refuses to start with, and how it ends."""
import contextlib
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import sys

import harness
import pytest

# ---- the command line ----

@pytest.mark.parametrize("option", ["--help", "--version"])
def test_options_that_only_print(make_cluster, option):
    result = make_cluster(start=False, use_config_file=False).run(option)
    assert result.returncode == 0 and result.stderr == ""
    assert "musterd" in result.stdout


@pytest.mark.parametrize("arguments", [["--nonsense"], ["stray"], ["-c"]])
def test_a_wrong_command_line(make_cluster, arguments):
    result = make_cluster(start=False, use_config_file=False).run(*arguments)
    assert result.returncode == os.EX_USAGE
    assert "--help" in result.stderr


def test_a_good_configuration_is_checked_and_printed(make_cluster):
    cluster = make_cluster(start=False)
    assert cluster.run("-t").returncode == 0
    printed = cluster.run("-T")
    assert printed.returncode == 0
    assert re.search(rf"port\s*=\s*{cluster.port}\b", printed.stdout)
    assert "drain_timeout" in printed.stdout and "keepalive_timeout" in printed.stdout
    assert cluster.token not in printed.stdout


def test_every_mistake_is_reported_with_file_and_line(make_cluster):
    cluster = make_cluster(start=False)
    mistakes = [
        'workers = "many"',
        'drain_timeout = "30"',
        "no_such_key = 1",
        "http { max_headers = 0 }",
        'log { level = "loud" }',
        'listen "a" { port = 70000 }',
    ]
    cluster.config_path.write_text("\n".join(mistakes) + "\n")
    for arguments in (["-t"], []):  # checking it, and trying to run with it
        result = cluster.run(*arguments)
        assert result.returncode == os.EX_CONFIG
        reported = {int(line) for line in
                    re.findall(rf"^{re.escape(str(cluster.config_path))}:(\d+): ", result.stderr,
                               re.MULTILINE)}
        assert reported == set(range(1, len(mistakes) + 1)), result.stderr


def test_a_configuration_that_is_not_there(make_cluster):
    cluster = make_cluster(start=False, use_config_file=False)
    result = cluster.run("-c", "/nonexistent/muster.conf")
    assert result.returncode == os.EX_CONFIG
    assert "/nonexistent/muster.conf" in result.stderr and "No such file" in result.stderr


def test_a_variable_that_cannot_be_used(make_cluster):
    result = make_cluster(start=False, env={"MANAGEMENT_PORT": "nine"}).run("-t")
    assert result.returncode == os.EX_CONFIG
    assert "MANAGEMENT_PORT" in result.stderr and "nine" in result.stderr


# ---- starting ----

def test_without_any_file(make_cluster):
    """Only variables; the cluster serves its built-in pages and is managed."""
    cluster = make_cluster(start=False, use_config_file=False)
    cluster.env = {"PORT": str(cluster.port), "MANAGEMENT_PORT": str(cluster.management_port),
                   "MUSTER_RUN_DIR": str(cluster.run_dir), "CLUSTER_WORKERS": "1"}
    if harness.SANITIZE:
        cluster.env["ASAN_OPTIONS"] = "detect_leaks=0"  # the worker changes its user
    cluster.start()
    health = cluster.get("/health")
    assert health.status == 200 and health.json["status"] == "ok"
    assert health.json["workers_ready"] == 1
    assert cluster.get("/").status == 200
    status = cluster.management("GET", "/cluster/status", token=False).json
    assert status["worker_counts"]["ready"] == 1
    # Without a token, changes are for the Unix socket only.
    refused = cluster.management("POST", "/cluster/workers/0/restart", token=False)
    assert refused.status in (401, 403)


def test_as_an_ordinary_user(make_cluster):
    if os.geteuid() != 0:
        pytest.skip("every other test does that already")
    cluster = make_cluster(start=False)
    cluster.become_ordinary_user()
    cluster.start()
    assert cluster.get("/hello").text == "hello\n"
    for pid in [cluster.process.pid, *cluster.worker_pids()]:
        assert os.stat(f"/proc/{pid}").st_uid in (harness.NOBODY, 0)  # 0: not dumpable
        assert re.search(rf"^Uid:\s+{harness.NOBODY}\s+{harness.NOBODY}", status_of(pid), re.MULTILINE)


def status_of(pid):
    return pathlib.Path(f"/proc/{pid}/status").read_text()


@pytest.mark.skipif(os.geteuid() != 0 or harness.SANITIZE, reason="needs root, and no LeakSanitizer")
def test_workers_of_root_give_up_their_privileges(cluster):
    for pid in cluster.worker_pids():
        text = status_of(pid)
        uid = re.search(r"^Uid:\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", text, re.MULTILINE).groups()
        assert "0" not in uid
        assert re.search(r"^CapEff:\s+0+$", text, re.MULTILINE)
        assert re.search(r"^NoNewPrivs:\s+1$", text, re.MULTILINE)
    assert cluster.get("/hello").status == 200


def test_sockets_and_files_of_the_run_directory(cluster):
    for name, mode in (("control.sock", 0o600), ("muster.sock", 0o600)):
        assert (cluster.run_dir / name).stat().st_mode & 0o777 == mode
    assert (cluster.run_dir / "musterd.pid").read_text().strip() == str(cluster.process.pid)
    assert cluster.stop() == 0
    assert not (cluster.run_dir / "muster.sock").exists()
    assert not (cluster.run_dir / "control.sock").exists()


def test_ipv4_and_ipv6_by_default(make_cluster):
    cluster = make_cluster(sections={("listen", "default"): {"address": "*"}})
    assert cluster.get("/hello").status == 200
    with harness.Connection(("::1", cluster.port)) as connection:
        assert connection.request("GET", "/hello").status == 200
    listeners = cluster.status()["listeners"]
    assert {listener["kind"] for listener in listeners} == {"per-slot"}


def test_a_unix_socket(make_cluster):
    cluster = make_cluster(start=False)
    path = cluster.dir / "public.sock"
    cluster.config[("listen", "unix")] = {"path": path, "mode": "0640"}
    cluster.start()
    assert path.stat().st_mode & 0o777 == 0o640
    for _ in range(4):
        with harness.Connection(path) as connection:
            assert connection.request("GET", "/hello").text == "hello\n"
    assert cluster.get("/hello").status == 200  # the TCP port, too
    assert cluster.stop() == 0
    assert not path.exists()


# ---- what is refused ----

def test_a_second_master_on_the_same_run_directory(cluster, make_cluster):
    second = make_cluster(start=False)
    second.config["run_dir"] = cluster.run_dir
    result = second.run()
    assert result.returncode == 1
    assert f"pid {cluster.process.pid}" in result.stderr and str(cluster.run_dir) in result.stderr
    assert cluster.get("/hello").status == 200
    assert cluster.musterctl("status").returncode == 0


def test_after_a_master_that_was_killed(make_cluster):
    """Files that a killed master left behind are in nobody's way."""
    first = make_cluster()
    first.expect_status = -signal.SIGKILL
    workers = first.worker_pids()
    first.send_signal(signal.SIGKILL)
    first.wait_exit()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    second = make_cluster(start=False)
    second.config["run_dir"] = first.run_dir
    second.run_dir = first.run_dir
    second.start()
    assert second.get("/hello").status == 200


@pytest.mark.parametrize("who", ["public", "management"])
@pytest.mark.parametrize("reuse", [False, True])
def test_a_port_that_is_taken(make_cluster, who, reuse):
    cluster = make_cluster(start=False)
    port = cluster.port if who == "public" else cluster.management_port
    with socket.socket() as holder:
        if reuse:  # another cluster would do that; its connections must not be shared
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", port))
        holder.listen()
        result = cluster.run()
    assert result.returncode == 1
    assert f"127.0.0.1:{port}" in result.stderr
    assert "address already in use" in result.stderr.lower()
    assert f"pid {os.getpid()}" in result.stderr
    assert not cluster.processes()


def test_management_open_to_the_world_needs_a_token(make_cluster):
    cluster = make_cluster(start=False, management={"address": "0.0.0.0", "token": ""})
    for arguments in (["-t"], []):
        result = cluster.run(*arguments)
        assert result.returncode == os.EX_CONFIG
        assert "token" in result.stderr and "0.0.0.0" in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="root sets a hard limit for another user")
def test_a_file_limit_that_is_too_low(make_cluster):
    cluster = make_cluster(
        start=False, max_connections=1000,
        preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (500, 500)))
    cluster.become_ordinary_user()
    result = cluster.run()
    assert result.returncode == 1
    assert "500" in result.stderr and "max_connections" in result.stderr


def test_an_unknown_user(make_cluster):
    if os.geteuid() != 0:
        pytest.skip("only root changes the user")
    result = make_cluster(start=False, user="no-such-user").run()
    assert result.returncode in (1, os.EX_CONFIG)
    assert "no-such-user" in result.stderr


# ---- systemd ----

class NotifySocket:
    """Stands in for the service manager."""

    def __init__(self, path):
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(path))
        self.messages = []

    def read(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                self.messages.append(self.sock.recv(4096, socket.MSG_DONTWAIT).decode())
        return self.messages

    def count(self, line):
        return sum(line in message.splitlines() for message in self.read())

    def wait(self, line, timeout=10, count=1):
        harness.wait_until(lambda: self.count(line) >= count, timeout,
                           lambda: f"{count} times {line} among {self.messages}")


@pytest.fixture
def notify(tmp_path):
    made = NotifySocket(tmp_path / "notify")
    yield made
    made.sock.close()


def test_the_service_manager_is_told(make_cluster, notify):
    cluster = make_cluster(start=False, env={"NOTIFY_SOCKET": str(notify.path),
                                             "WATCHDOG_USEC": "400000"})
    cluster.spawn()
    notify.wait("READY=1")
    # When it says READY, it is: the first request after it is answered.
    assert cluster.get("/health/ready").status == 200
    assert any("STATUS=" in message and "2 of 2" in message for message in notify.read())
    notify.wait("WATCHDOG=1", count=4)
    assert notify.count("STOPPING=1") == 0
    assert cluster.stop() == 0
    notify.wait("STOPPING=1")
    assert notify.count("READY=1") == 1


def test_not_ready_before_a_worker_is(make_cluster, notify):
    cluster = make_cluster(start=False, worker_path="/bin/false",
                           env={"NOTIFY_SOCKET": str(notify.path)})
    cluster.spawn()
    cluster.wait_log("exited with status 1")
    assert notify.count("READY=1") == 0


# Gives the sockets of its second argument the numbers 3, 4, ... and the next program's own pid.
ACTIVATE = """
import fcntl, os, sys
high = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in sys.argv[1].split(",")]
for number, fd in enumerate(high):
    os.dup2(fd, 3 + number, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(high)))
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize("reuse_port", [True, False])
def test_socket_activation(make_cluster, reuse_port):
    with socket.socket() as listener:
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        port = harness.free_port()
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        cluster = make_cluster(
            start=False, pass_fds=(listener.fileno(),),
            prefix=[sys.executable, "-c", ACTIVATE, str(listener.fileno())])
        # A client that came before musterd is served, too.
        with harness.Connection(("127.0.0.1", port)) as early:
            early.send(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
            cluster.start()
            listener.close()
            assert early.read_response().text == "hello\n"
        cluster.port = port
        for _ in range(20):
            assert cluster.get("/hello").text == "hello\n"
        inherited = [one for one in cluster.status()["listeners"] if one["inherited"]]
        assert [one["kind"] for one in inherited] == ["per-slot" if reuse_port else "shared"]
        assert str(port) in inherited[0]["address"]


def test_the_units_are_understood_by_systemd(tmp_path):
    """systemd-analyze verify, with the programs of this build in place of the installed ones."""
    deploy = harness.ROOT / "scripts/deploy"
    for name in ("muster.service", "muster.socket"):
        text = (deploy / name).read_text()
        text = text.replace("@CMAKE_INSTALL_FULL_SBINDIR@", str(harness.BIN_DIR))
        text = text.replace("@CMAKE_INSTALL_FULL_BINDIR@", str(harness.BIN_DIR))
        text = text.replace("@CMAKE_INSTALL_FULL_LIBEXECDIR@/muster", str(deploy))
        assert "@" not in text.replace("@system-service", "").replace("@privileged", "")
        (tmp_path / name).write_text(text)
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "muster.service"),
         str(tmp_path / "muster.socket")], capture_output=True, text=True, check=False)
    ours = [line for line in result.stderr.splitlines() if "muster" in line]
    assert result.returncode == 0 and not ours, result.stderr


def test_the_unit_stays_locked_down(tmp_path):
    """systemd-analyze security: 1.6 when this was written, lower is better."""
    text = (harness.ROOT / "scripts/deploy/muster.service").read_text()
    (tmp_path / "muster.service").write_text(re.sub(r"@CMAKE\w+@/\w+", "/bin/true", text))
    result = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager",
         str(tmp_path / "muster.service")], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-200:] + result.stderr


# ---- ending ----

@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_ends_an_idle_cluster(cluster, sig):
    assert cluster.stop(sig) == 0
    assert cluster.log_lines("stopped")


def test_a_signal_before_the_workers_are_ready(make_cluster):
    cluster = make_cluster(start=False)
    cluster.spawn()
    cluster.wait_log("started")
    assert cluster.stop() == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_nobody_is_reset_when_it_starts(make_cluster, address):
    """Clients that try all the time are refused until it listens, and answered from then on."""
    cluster = make_cluster(start=False, drain_delay="0s", drain_idle_grace="50ms",
                           sections={("listen", "default"): {"address": address}})
    client = harness.Load((address, cluster.port), cluster.dir, "--new-rate", 3000,
                          "--linger", 5)
    try:
        for _ in range(4):
            cluster.start()
            assert cluster.stop() == 0
        cluster.start()
        report = client.stop()
    finally:
        client.kill()
    # A SYN that is ignored comes again after 1, 2 and 4 s, which may be in the next end.
    harmless = ("connect_refused", "connect_timeout")
    bad = [failure for failure in report["failures"] if failure["what"] not in harmless]
    assert not bad, bad[:5]
    assert report["answered"] > 1000
