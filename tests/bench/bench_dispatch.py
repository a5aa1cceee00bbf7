# SPDX-License-Identifier: BSD-2-Clause
"""Who gets a new connection, by algorithm: one busy worker of four, connections that stay while the set of
workers changes, and what choosing costs."""
import argparse
import resource

import bench_common as bench
import balancing
import harness

ALGORITHMS = ("round-robin", "weighted", "least-connections", "ip-hash", "consistent-hash")


def milliseconds(us):
    return f"{us / 1000:.2f}"


def busy_worker(options):
    """An even spread is what the plain kernel hash gives: a quarter of the connections each. With nobody
    busy it shows what the machine itself adds."""
    cases = {"nobody busy": ("round-robin", 0), "round-robin": ("round-robin", 2),
             "least-connections": ("least-connections", 2)}
    figures = {name: [] for name in cases}
    for _ in range(options.rounds):
        for name, (algorithm, clients) in cases.items():
            with bench.Muster(workers=4, max_workers=4, worker_path=harness.TEST_WORKER,
                              balance={"algorithm": algorithm}) as cluster:
                report = balancing.latency_beside_a_busy_worker(
                    cluster, options.rate, options.seconds, clients=clients)
                assert report["failure_count"] == 0, harness.failures_text(report)
                share = cluster.status()["dispatch"]["slots"][0]["share"]
                figures[name].append((report["kinds"]["new"]["latency_us"], share))
    rows = []
    for name, reports in figures.items():
        middle = [bench.median([latency[q] for latency, _ in reports])
                  for q in ("p50", "p90", "p99", "p999")]
        share = bench.median([share for _, share in reports])
        rows.append([name, *map(milliseconds, middle), f"{100 * share:.1f} %"])
    bench.table(f"slot 0 of 4 answers stalls of 40 ms; {options.rate} new connections/s of others, "
                f"medians of {options.rounds} (ms)",
                ["", "p50", "p90", "p99", "p999", "went to slot 0"], rows)
    even, least = (bench.median([latency["p99"] for latency, _ in figures[name]])
                   for name in ("round-robin", "least-connections"))
    print(f"  p99 is {even / least:.0f} times better (aim: 5)")


def crowd(options):
    rows = []
    for algorithm in ("round-robin", "least-connections"):
        errors, counts = [], {}
        for _ in range(options.rounds):
            with bench.Muster(workers=2, max_workers=4, balance={"algorithm": algorithm}) as cluster:
                counts = balancing.crowd_through_changes(cluster, options.crowd, 2000)
                errors.append(balancing.spread_error(counts))
        rows.append([algorithm, f"{100 * bench.median(errors):.1f} %", f"{100 * max(errors):.1f} %",
                     " ".join(str(count) for count in counts.values())])
    bench.table(f"{options.crowd} connections stay; 2 workers, 4, 3, a restart; "
                f"the slot furthest from even ({options.rounds} rounds)",
                ["", "median", "worst", "the last one"], rows)


def cost(options):
    """Connections per second and per CPU-second of the workers, with as many workers as asked for."""
    rows = []
    for algorithm in ALGORITHMS:
        rates, swaps = [], 0
        for _ in range(options.rounds):
            with bench.Muster(workers=options.workers, max_workers=options.workers,
                              balance={"algorithm": algorithm}) as cluster:
                pids = cluster.worker_pids()
                before = sum(map(bench.cpu_seconds, pids))
                report = cluster.load("--churn", 16, "--duration", options.seconds).result()
                used = sum(map(bench.cpu_seconds, pids)) - before
                swaps = cluster.status()["dispatch"]["program_swaps"]
                rates.append((report["answered"] / options.seconds, report["answered"] / used))
        rows.append([algorithm, f"{bench.median([rate for rate, _ in rates]):,.0f}",
                     f"{bench.median([per_cpu for _, per_cpu in rates]):,.0f}", swaps])
    bench.table(f"connection per request, {options.workers} workers, medians of {options.rounds}",
                ["", "per second", "per CPU-second of workers", "program swaps"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rate", type=int, default=300)
    parser.add_argument("--crowd", type=int, default=10000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--only", choices=["busy", "crowd", "cost"])
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(bench.machine_line())
    if options.only in (None, "busy"):
        busy_worker(options)
    if options.only in (None, "crowd"):
        crowd(options)
    if options.only in (None, "cost"):
        cost(options)


if __name__ == "__main__":
    main()
