# SPDX-License-Identifier: BSD-2-Clause
"""Time from SIGKILL of one of two workers to the first answers on new connections, and until the
replacement serves. nginx does the same beside it."""
import argparse
import contextlib
import time

import bench_common as bench
import harness

NEW_CONNECTIONS = 8
PAUSE_S = 0.3  # a worker killed within backoff_min (0.1 s) of its start is not replaced at once
REQUEST = b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def answers_after(port, kill):
    """Kills, opens connections at once; milliseconds until the first and until the last answer."""
    begin = time.perf_counter()
    kill()
    with contextlib.ExitStack() as stack:
        times = []
        connections = []
        for _ in range(NEW_CONNECTIONS):
            connection = stack.enter_context(harness.Connection(("127.0.0.1", port)))
            connection.send(REQUEST)
            connections.append(connection)
        for connection in connections:
            assert connection.sock.recv(4096)
            times.append(1000 * (time.perf_counter() - begin))
    return begin, min(times), max(times)


def one_muster(cluster, log, slot):
    pid = cluster.worker_pid(slot)
    log.read()
    begin, first, last = answers_after(cluster.port, lambda: harness.kill(pid))
    text = ""
    while f"worker ready slot={slot} " not in text:
        text += log.read()
        if time.perf_counter() - begin > 10:
            raise AssertionError(f"no replacement: {text}")
    # The log has milliseconds; what counts is when the line was there. The answers above were
    # waited for first, so this is an upper bound.
    replaced = 1000 * (time.perf_counter() - begin)
    cluster.wait_ready()
    return first, last, replaced


def one_nginx(nginx):
    pids = nginx.workers()
    begin, first, last = answers_after(nginx.port, lambda: harness.kill(pids[0]))
    while True:
        answered_by = int(nginx.get("/pid").text)
        if answered_by not in pids:
            break
        if time.perf_counter() - begin > 10:
            raise AssertionError("no replacement")
    replaced = 1000 * (time.perf_counter() - begin)
    harness.wait_until(lambda: len(nginx.workers()) == 2, 5)
    return first, last, replaced


def rows_of(name, results):
    columns = list(zip(*results))
    return [[name, *[f"{bench.median(values):.2f}" for values in columns]],
            ["  90 % below", *[f"{bench.quantile(values, 0.9):.2f}" for values in columns]],
            ["  highest", *[f"{max(values):.2f}" for values in columns]]]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    options = parser.parse_args()
    print(bench.machine_line())
    muster_results, nginx_results, reuse_results = [], [], []
    with bench.Muster(workers=2) as cluster, bench.Nginx(workers=2) as nginx, \
            bench.Nginx(workers=2, reuseport=True) as reuse, \
            open(cluster.log_path, encoding="utf-8") as log:
        for n in range(options.kills):
            bench.pause(PAUSE_S)
            muster_results.append(one_muster(cluster, log, n % 2))
            nginx_results.append(one_nginx(nginx))
            reuse_results.append(one_nginx(reuse))
        bench.table(f"after kill -9 of one of two workers, milliseconds (medians of {options.kills})",
                    ["", "first answer", f"all of {NEW_CONNECTIONS} answered", "replacement serves"],
                    [*rows_of("muster (aim 1.5 and 7)", muster_results),
                     *rows_of("nginx", nginx_results),
                     *rows_of("nginx, reuseport", reuse_results)])


if __name__ == "__main__":
    main()
