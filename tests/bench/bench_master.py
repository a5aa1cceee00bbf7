# SPDX-License-Identifier: BSD-2-Clause
"""The master with 256 workers that report every second, and with two real idle ones."""
import argparse
import time

import bench_common as bench
import harness


def status_times(cluster, count):
    """Milliseconds of GET /cluster/status, a connection each."""
    times, size = [], 0
    for _ in range(count):
        begin = time.perf_counter()
        with harness.Connection(cluster.management_socket) as connection:
            size = len(connection.request("GET", "/cluster/status").body)
        times.append(1000 * (time.perf_counter() - begin))
    return times, size


def idle(pid, seconds):
    """(share of a processor, wake-ups per second, private bytes)"""
    cpu, woken, watch = bench.cpu_seconds(pid), bench.wakeups(pid), harness.Watch()
    bench.pause(seconds)
    elapsed = watch.seconds
    return ((bench.cpu_seconds(pid) - cpu) / elapsed, (bench.wakeups(pid) - woken) / elapsed,
            bench.private_bytes(pid))


def many(workers, seconds):
    with bench.Muster(worker_path=str(bench.STUB_WORKER), workers=workers, max_workers=workers,
                      user="root" if harness.os.geteuid() == 0 else None) as cluster:
        started = cluster.wait_log(r"\bready workers=")[-1].split("start_ms=")[1]
        bench.pause(12)  # the window of recent numbers has filled
        share, woken, private = idle(cluster.process.pid, seconds)
        times, size = status_times(cluster, 300)
        after = bench.private_bytes(cluster.process.pid)
        metrics_begin = time.perf_counter()
        cluster.metrics()
        metrics_ms = 1000 * (time.perf_counter() - metrics_begin)
    bench.table(
        f"{workers} workers, each reporting once a second ({seconds} s)", ["", "measured", "aim"],
        [["CPU of the master", f"{100 * share:.2f} %", "< 2 %"],
         ["private memory", f"{private / 1e6:.2f} MB", "< 16 MB"],
         ["  after 300 x /cluster/status", f"{after / 1e6:.2f} MB", ""],
         ["/cluster/status, median", f"{bench.median(times):.2f} ms", "< 5 ms"],
         ["  99 % below", f"{bench.quantile(times, 0.99):.2f} ms", ""],
         ["  size", f"{size / 1000:.0f} kB", ""],
         ["/metrics, once", f"{metrics_ms:.2f} ms", ""],
         ["wake-ups per second", f"{woken:.0f}", ""],
         ["start until all are ready", f"{started} ms", ""]])


def two_idle(seconds):
    with bench.Muster(workers=2) as cluster:
        for _ in range(20):
            cluster.get("/hello")
        bench.pause(3)
        pids = {"master": cluster.process.pid,
                **{f"worker {slot}": worker["pid"] for slot, worker in cluster.workers().items()}}
        before = {who: (bench.cpu_seconds(pid), bench.wakeups(pid)) for who, pid in pids.items()}
        watch = harness.Watch()
        bench.pause(seconds)
        elapsed = watch.seconds
        rows = []
        for who, pid in pids.items():
            cpu, woken = before[who]
            rows.append([who, f"{bench.private_bytes(pid) / 1e6:.2f} MB",
                         "< 5 MB" if who == "master" else "< 4 MB",
                         f"{(bench.wakeups(pid) - woken) / elapsed:.2f}",
                         f"{100 * (bench.cpu_seconds(pid) - cpu) / elapsed:.3f} %"])
    bench.table(f"two real workers, idle, reporting once a second ({seconds} s)",
                ["", "private memory", "aim", "wake-ups/s", "CPU"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    print(bench.machine_line())
    many(options.workers, options.seconds)
    two_idle(options.seconds)


if __name__ == "__main__":
    main()
