# SPDX-License-Identifier: BSD-2-Clause
"""kill -9 of random workers every 200 ms under 64 busy keep-alive connections and 500 new
connections per second; what failed, and whose it was."""
import argparse

import bench_common as bench
import harness
import survival


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report-interval", type=int, default=100, help="milliseconds")
    options = parser.parse_args()
    print(bench.machine_line())
    with bench.Muster(workers=options.workers,
                      report_interval=f"{options.report_interval}ms") as cluster:
        client = cluster.load("--keepalive", 64, "--new-rate", 500).wait_flowing()
        kills, poller, report = survival.run(cluster, client, options.seconds)
        cluster.wait_ready()
        counted = survival.settled_total(cluster)
    strange = survival.unexplained(kills, report)
    connects = survival.connections_failed(report)
    kinds = report["kinds"]
    interval = options.report_interval / 1000
    bound = len(kills) * interval / report["elapsed_s"] / options.workers
    bench.table(
        f"{len(kills)} kills in {options.seconds:.0f} s, {options.workers} workers",
        ["", "measured", "aim"],
        [["requests answered", f"{report['answered']:,}", ""],
         ["  on new connections", f"{kinds['new']['answered']:,}", ""],
         ["connects refused, timed out, reset",
          f"{connects['refused']}, {connects['timed out']}, {connects['reset']}", "0, 0, 0"],
         ["requests failed", f"{report['failure_count']:,}", ""],
         ["  per kill", f"{report['failure_count'] / max(1, len(kills)):.1f}", ""],
         ["  not on a connection of the killed worker", len(strange), "0"],
         ["longest connect", f"{max(k['connect_us']['max'] for k in kinds.values()) / 1000:.1f} ms",
          ""],
         ["longest answer on a new connection",
          f"{kinds['new']['latency_us']['max'] / 1000:.1f} ms", ""],
         ["polls of /metrics", poller.polls, ""],
         ["  counters that fell", len(poller.fallen), "0"],
         ["requests counted", f"{counted:,.0f}", ""],
         [f"  lost with the killed (report_interval {options.report_interval} ms)",
          f"{100 * (report['answered'] - counted) / report['answered']:.1f} %",
          f"< {min(100, 100 * bound):.0f} %"]])
    for failure in strange[:10]:
        print("  unexplained:", failure)
    for name, before, now in poller.fallen[:10]:
        print(f"  fell: {name} {before} -> {now}")
    assert harness.process_stat(client.process.pid) is None


if __name__ == "__main__":
    main()
