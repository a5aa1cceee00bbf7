# SPDX-License-Identifier: BSD-2-Clause
"""nginx and HAProxy as subjects of churn.py: each does what its documentation says for the
operation, the way Debian's service unit would have it done."""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import bench_common as bench
import churn
import harness

HAPROXY = "/usr/sbin/haproxy"
WORKERS = 4


def command_line(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def children(pid):
    try:
        return [int(child) for child in
                pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


class Peer(churn.Subject):
    """A program in a directory of its own, a copy of it on disk, and its configuration."""
    program = "?"

    def __init__(self, wire=None, workers=WORKERS):
        super().__init__(wire)
        self.temporary = tempfile.TemporaryDirectory(prefix="muster-churn-", dir="/tmp")
        self.dir = pathlib.Path(self.temporary.name)
        self.dir.chmod(0o755)
        self.port = harness.free_port()
        self.most = self.count = workers
        self.binary = self.dir / pathlib.Path(self.program).name
        shutil.copy(self.program, self.binary)
        self.config = self.dir / "config"
        self.write_config()
        self.log = open(self.dir / "log", "ab")

    def __enter__(self):
        harness.adopt_orphans()
        try:
            self.start()
        except BaseException:
            print((self.dir / "log").read_text()[-4000:])
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for pid in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if pid.isdigit() and os.readlink(f"/proc/{pid}/exe").startswith(f"{self.dir}/"):
                    harness.kill(int(pid))
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        self.log.close()
        self.temporary.cleanup()

    def write_config(self):
        self.config.write_text(self.config_text())

    @contextlib.contextmanager
    def broken_config(self):
        self.config.write_text(self.config_text() + "\nnonsense\n")
        yield
        self.write_config()

    def run(self, *args):
        """Runs the program to its end; whether it said that all is well."""
        return subprocess.run([*self.server_prefix, str(self.binary), *args], stdout=self.log,
                              stderr=self.log, stdin=subprocess.DEVNULL,
                              check=False).returncode == 0

    def spawn(self, *args):
        return subprocess.Popen([*self.server_prefix, str(self.binary), *args], stdout=self.log,
                                stderr=self.log, stdin=subprocess.DEVNULL)

    def listens(self):
        """Whether somebody listens on the port, without connecting to it."""
        tables = subprocess.run([*self.server_prefix, "cat", "/proc/net/tcp"],
                                capture_output=True, text=True, check=True).stdout
        return f":{self.port:04X} 00000000:0000 0A" in tables

    def replace_binary(self):
        """What a package upgrade does: another file under the same name."""
        copy = self.dir / "new-binary"
        shutil.copy(self.program, copy)
        os.rename(copy, self.binary)

    def wait_new(self, old, count, what):
        """Waits until `count` workers serve of which none is in `old`."""
        return harness.wait_until(
            lambda: len(self.workers()) == count and not set(old) & set(self.workers()), 30, what)


class Nginx(Peer):
    program = bench.NGINX
    name = "nginx"
    reuseport = ""

    def config_text(self):
        path = self.dir
        return f"""
worker_processes {self.count}; pid {path}/pid; error_log {path}/error.log;
worker_rlimit_nofile 20000; user root;
events {{ worker_connections 16384; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 75s;
    client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
    fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
    server {{
        listen {self.host}:{self.port} backlog=4096{self.reuseport};
        default_type text/plain;
        location /hello {{ return 200 "hello\\n"; }}
    }}
}}
"""

    def arguments(self):
        return ["-p", str(self.dir), "-c", str(self.config)]

    def start(self):
        """As a daemon: in the foreground nginx ignores the signal for an upgrade."""
        assert self.run(*self.arguments()), "nginx does not start"
        self.wait_workers()

    def master(self):
        try:
            return int((self.dir / "pid").read_text())
        except (OSError, ValueError):
            return 0

    def workers(self):
        return [pid for pid in children(self.master())
                if command_line(pid) == "nginx: worker process"]

    def wait_workers(self):
        harness.wait_until(lambda: len(self.workers()) == self.count and self.listens(), 30,
                           "nginx runs")

    def reload(self):
        old = self.workers()
        if not self.run(*self.arguments(), "-s", "reload"):
            return False
        self.wait_new(old, self.count, "nginx reloaded")
        return True

    def reload_broken(self):
        with self.broken_config():
            return self.run(*self.arguments(), "-s", "reload")

    def scale(self, count):
        self.count = count
        self.write_config()
        return self.reload()

    def upgrade(self):
        """USR2, and QUIT for the old master when the new one's workers are there."""
        self.replace_binary()
        old = self.master()
        os.kill(old, signal.SIGUSR2)
        harness.wait_until(lambda: self.master() not in (0, old), 30, "the new nginx runs")
        self.wait_workers()
        os.kill(old, signal.SIGQUIT)
        harness.wait_until(lambda: not harness.process_alive(old), 30, "the old nginx has gone")
        return "another master pid"

    def kill_master(self):
        """Its workers serve on, but nobody can take them over, and they hold the port: they are
        asked to leave gracefully, and a new master starts when they have closed it."""
        orphans, master = self.workers(), self.master()
        harness.kill(master)
        harness.wait_until(lambda: not harness.process_alive(master), 5, "the master died")
        for pid in orphans:
            harness.kill(pid, signal.SIGQUIT)
        harness.wait_until(lambda: not self.listens(), 5, "the workers closed the port")
        self.start()
        return "every worker was restarted"

    def restart(self, note_closed):
        master = self.master()
        note_closed()
        os.kill(master, signal.SIGQUIT)
        harness.wait_until(lambda: not harness.process_alive(master), 60, "nginx ended")
        self.start()
        return True


class NginxReuseport(Nginx):
    name = "nginx reuseport"
    reuseport = " reuseport"


class Haproxy(Peer):
    """Master-worker mode: one worker process, whose threads are what is scaled."""
    program = HAPROXY
    name = "haproxy"

    def config_text(self):
        return f"""
global
    nbthread {self.count}
    maxconn 9000
defaults
    mode http
    timeout client 75s
    timeout connect 5s
    timeout server 75s
    timeout http-keep-alive 75s
frontend churn
    bind {self.host}:{self.port} backlog 4096
    http-request return status 200 content-type text/plain string "hello\\n"
"""

    def start(self):
        self.process = self.spawn("-W", "-f", str(self.config))
        self.wait_workers()

    def workers(self):
        """The newest child: those before it finish what they have."""
        return [pid for pid in children(self.process.pid)[-1:] if harness.process_alive(pid)]

    def wait_workers(self):
        harness.wait_until(lambda: self.workers() and self.listens(), 30, "haproxy runs")

    def reload(self):
        """What Debian's unit does: a check, then USR2."""
        if not self.run("-c", "-q", "-f", str(self.config)):
            return False
        old = self.workers()
        os.kill(self.process.pid, signal.SIGUSR2)
        self.wait_new(old, 1, "haproxy reloaded")
        return True

    def reload_broken(self):
        with self.broken_config():
            return self.reload()

    def scale(self, count):
        self.count = count
        self.write_config()
        return self.reload()

    def upgrade(self):
        self.replace_binary()
        return None if self.reload() else "failed"

    def again(self):
        """Starts it again when nobody holds the port any more."""
        harness.wait_until(lambda: not self.listens(), 10, "the port is free")
        self.process.wait()
        self.start()

    def kill_master(self):
        """Its worker sees that and exits."""
        self.process.kill()
        self.again()
        return "the worker left with its master"

    def after_kill(self):
        """The master ends when its worker died; the unit says Restart=always."""
        self.process.wait(30)
        self.again()

    def restart(self, note_closed):
        note_closed()
        self.process.send_signal(signal.SIGUSR1)
        self.process.wait(90)
        self.start()
        return True


ALL = (Nginx, NginxReuseport, Haproxy)
