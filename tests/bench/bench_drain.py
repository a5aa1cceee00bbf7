# SPDX-License-Identifier: BSD-2-Clause
"""SIGTERM under load, again and again: failed requests, exit status, and how long it took."""
import argparse
import signal

import bench_common as bench
import harness

DRAIN_DELAY = 1.0


def one():
    with bench.Muster(drain_delay="1s", drain_timeout="10s", drain_idle_grace="1s") as cluster:
        client = cluster.load("--keepalive", 64, "--new-rate", 500, "--linger", 3).wait_flowing()
        bench.pause(0.5)
        watch = harness.Watch()
        status = cluster.stop(signal.SIGTERM)
        seconds = watch.seconds
        report = client.stop()
    refused = [failure for failure in report["failures"] if failure["what"] == "connect_refused"]
    early = [failure for failure in refused if failure["at"] < watch.started + DRAIN_DELAY]
    return {"status": status, "seconds": seconds, "answered": report["answered"],
            "failed": report["failure_count"] - len(refused), "refused early": len(early),
            "first refused": min((failure["at"] - watch.started for failure in refused),
                                 default=float("nan"))}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    options = parser.parse_args()
    print(bench.machine_line())
    results = [one() for _ in range(options.times)]
    bench.table(
        f"SIGTERM under 64 keep-alive and 500 new connections/s, {options.times} times "
        "(drain_delay 1 s, drain_timeout 10 s)", ["", "measured", "aim"],
        [["requests answered", f"{sum(r['answered'] for r in results):,}", ""],
         ["requests failed", sum(r["failed"] for r in results), "0"],
         ["connections refused before the drain delay was over",
          sum(r["refused early"] for r in results), "0"],
         ["exit status not 0", sum(r["status"] != 0 for r in results), "0"],
         ["first connection refused after, median",
          f"{bench.median([r['first refused'] for r in results]):.2f} s", "> 1 s"],
         ["time until musterd had ended, median",
          f"{bench.median([r['seconds'] for r in results]):.2f} s", "< 10 s"],
         ["  longest", f"{max(r['seconds'] for r in results):.2f} s", ""]])


if __name__ == "__main__":
    main()
