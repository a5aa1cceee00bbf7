# SPDX-License-Identifier: BSD-2-Clause
"""What the benchmarks share: the machine, /proc, nginx beside musterd, the load client, tables."""
import contextlib
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
import harness  # noqa: E402

SERVER_CPU, CLIENT_CPU = 0, 1
NGINX = "/usr/sbin/nginx"
STUB_WORKER = harness.TOOLS_DIR / "stub_worker"


def machine_line():
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1])
    return (f"{os.cpu_count()} x {model}, {memory / (1 << 20):.0f} GiB, "
            f"{platform.system()} {platform.release()}")


def need_two_cpus():
    cpus = os.sched_getaffinity(0)
    if not {SERVER_CPU, CLIENT_CPU} <= cpus:
        sys.exit(f"this benchmark pins the server to CPU {SERVER_CPU} and the client to CPU "
                 f"{CLIENT_CPU}; this process may use {sorted(cpus)}")


def cpu_seconds(pid):
    """Processor time of a process, in nanosecond steps where the kernel keeps them."""
    try:
        run = int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    except (OSError, IndexError):
        run = 0
    return run / 1e9 if run else harness.cpu_seconds(pid)


def private_bytes(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * sum(int(value) for value in re.findall(r"^Private_\w+:\s+(\d+)", text,
                                                         re.MULTILINE))


def wakeups(pid):
    """How often a process has gone to sleep, and so was woken."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)[1])


def pause(seconds):
    """Lets the measured processes run."""
    watch = harness.Watch()
    harness.wait_until(lambda: watch.seconds >= seconds, seconds + 10, interval=0.05)


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


def median(values):
    return statistics.median(values)


def table(title, head, rows):
    """Prints rows of text in columns; the first column to the left, the others to the right."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[n]) for row in [head, *rows]) for n in range(len(head))]
    print(f"\n{title}")
    for row in [head, ["-" * width for width in widths], *rows]:
        print("  " + "  ".join(cell.ljust(width) if n == 0 else cell.rjust(width)
                               for n, (cell, width) in enumerate(zip(row, widths))))
    sys.stdout.flush()


class Nginx:
    """An nginx of its own, for comparison: `return 200` with a text."""

    def __init__(self, text="hello\n", workers=1, cpu=None, reuseport=False):
        self.port = harness.free_port()
        self.dir = tempfile.TemporaryDirectory(prefix="muster-bench-", dir="/tmp")
        affinity = f"worker_cpu_affinity {1 << cpu:b};" if cpu is not None else ""
        body = text.replace("\n", "\\n")
        path = pathlib.Path(self.dir.name)
        path.chmod(0o755)
        (path / "nginx.conf").write_text(f"""
daemon off; worker_processes {workers}; {affinity} pid {path}/pid; error_log {path}/error.log;
events {{ worker_connections 8192; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 75s;
    client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
    fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
    server {{
        listen 127.0.0.1:{self.port} backlog=4096{" reuseport" if reuseport else ""};
        default_type text/plain;
        location /hello {{ return 200 "{body}"; }}
        location /pid {{ return 200 "$pid"; }}
    }}
}}
""")
        self.process = subprocess.Popen([NGINX, "-p", str(path), "-c", str(path / "nginx.conf")],
                                        stdin=subprocess.DEVNULL)
        harness.wait_until(lambda: len(self.workers()) == workers and self.answers(), 10,
                           "nginx runs")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.dir.cleanup()

    def workers(self):
        pid = self.process.pid
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in children]

    def answers(self):
        try:
            return self.get("/hello").status == 200
        except OSError:
            return False

    def get(self, path):
        with harness.Connection(("127.0.0.1", self.port)) as connection:
            return connection.request("GET", path, {"Connection": "close"})


class Muster:
    """A musterd of its own as a context manager."""

    def __init__(self, prefix=(), sections=None, **config):
        self.cluster = harness.Cluster({**config, **(sections or {})}, prefix=prefix)

    def __enter__(self):
        try:
            return self.cluster.start()
        except BaseException:
            print(self.cluster.log_text()[-4000:], file=sys.stderr)
            with contextlib.suppress(AssertionError):
                self.__exit__()
            raise

    def __exit__(self, *_):
        try:
            self.cluster.close()
        finally:
            self.cluster.remove()


def loadgen(port, *args, cpu=None):
    """Runs the load client to its end; its report."""
    pin = ["taskset", "-c", str(cpu)] if cpu is not None else []
    output = subprocess.run(
        [*pin, str(harness.TOOLS_DIR / "loadgen"), "--port", str(port), "--path", "/hello",
         *map(str, args)], stdout=subprocess.PIPE, check=True).stdout
    return harness.load_report(output)
