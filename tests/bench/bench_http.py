# SPDX-License-Identifier: BSD-2-Clause
"""One worker of musterd beside one of nginx, both pinned to the same processor, the client on the
other one. The two take turns: A B A B ...; ratios are those of neighbouring rounds."""
import argparse

import bench_common as bench
import harness

LOADS = [
    ("keep-alive, 64 connections, as fast as it goes", ("--keepalive", 64)),
    ("keep-alive, 512 connections, as fast as it goes", ("--keepalive", 512)),
    ("connection per request, 64 at a time, as fast as it goes", ("--churn", 64)),
    # The same load for both, which neither they nor the client find hard: what does it cost?
    ("keep-alive, 64 connections, 80,000 requests/s offered", ("--keepalive", 64, "--rate", 80000)),
    ("connection per request, 15,000/s offered", ("--new-rate", 15000)),
]
BUSY = 0.97


def response_bytes(port):
    with harness.Connection(("127.0.0.1", port)) as connection:
        connection.send(b"GET /hello HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.file.readline()
        length = next(line for line in head.splitlines() if line.startswith(b"Content-Length"))
        return len(head) + int(length.split(b":")[1])


def measure(server, load, seconds):
    port, pid = server
    before = bench.cpu_seconds(pid)
    report = bench.loadgen(port, *load, "--duration", seconds, cpu=bench.CLIENT_CPU)
    cpu = bench.cpu_seconds(pid) - before
    if report["failure_count"]:
        print("FAILED REQUESTS:", harness.failures_text(report))
    kind = next(kind for kind in report["kinds"].values() if kind["requests_sent"])
    return {"rate": report["answered"] / report["elapsed_s"], "per_cpu": report["answered"] / cpu,
            "p50": kind["latency_us"]["p50"], "p99": kind["latency_us"]["p99"],
            "server": cpu / report["elapsed_s"], "client": report["cpu_share"]}


def compare(name, load, servers, rounds, seconds):
    for server in servers.values():  # caches, connections, clock speed
        measure(server, load, min(1.0, seconds))
    results = {who: [] for who in servers}
    for _ in range(rounds):
        for who, server in servers.items():
            results[who].append(measure(server, load, seconds))
    rows = []
    for who, values in results.items():
        mid = {key: bench.median([value[key] for value in values]) for key in values[0]}
        rows.append([who, f"{mid['rate']:,.0f}", f"{mid['per_cpu']:,.0f}", f"{mid['p50']:.0f}",
                     f"{mid['p99']:.0f}", f"{100 * mid['server']:.0f} %",
                     f"{100 * mid['client']:.0f} %"])
    pairs = list(zip(results["muster"], results["nginx"]))

    def ratio(key):
        ratios = [a[key] / b[key] for a, b in pairs]
        return f"{bench.median(ratios):.2f}", f"{min(ratios):.2f} .. {max(ratios):.2f}"
    columns = [ratio(key) for key in ("rate", "per_cpu", "p50", "p99")]
    rows.append(["ratio muster / nginx", *[mid for mid, _ in columns], "", ""])
    rows.append(["  lowest .. highest", *[span for _, span in columns], "", ""])
    bench.table(f"{name} (medians of {rounds} rounds of {seconds} s)",
                ["", "requests/s", "per CPU-second", "p50 us", "p99 us", "server CPU", "client CPU"],
                rows)
    for who, values in results.items():
        client = bench.median([value["client"] for value in values])
        server = bench.median([value["server"] for value in values])
        if client > BUSY:
            print(f"  {who}: the client's processor is "
                  f"{'busy, too' if server > BUSY else 'the limit'}; compare per CPU-second")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--only", default="", help="a part of the name of a load")
    options = parser.parse_args()
    bench.need_two_cpus()
    print(bench.machine_line())

    text = "hello\n" + "." * 58
    pin = ["taskset", "-c", str(bench.SERVER_CPU)]
    with bench.Nginx(text, cpu=bench.SERVER_CPU) as probe:
        size = response_bytes(probe.port)
    route = {("route", "/hello"): {"text": text, "content_type": "text/plain"}}
    with bench.Muster(pin, route, workers=1) as probe:
        padding = size - response_bytes(probe.port)
    # Equal on the wire, headers included.
    route[("route", "/hello")]["text"] = text + "." * max(0, padding)
    with bench.Nginx(text + "." * max(0, -padding), cpu=bench.SERVER_CPU) as nginx, \
            bench.Muster(pin, route, workers=1) as muster:
        servers = {"muster": (muster.port, muster.worker_pid(0)),
                   "nginx": (nginx.port, nginx.workers()[0])}
        sizes = {who: response_bytes(port) for who, (port, _) in servers.items()}
        print(f"bytes per answer: {sizes}; server on CPU {bench.SERVER_CPU}, "
              f"client on CPU {bench.CLIENT_CPU}")
        for name, load in LOADS:
            if options.only in name:
                compare(name, load, servers, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
