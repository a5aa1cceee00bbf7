# SPDX-License-Identifier: BSD-2-Clause
"""The algorithms that choose a worker, on real sockets: who gets what, live changes, and what is told of it."""
import collections
import ctypes
import os
import socket
import subprocess
import threading
import time

import balancing
import harness
import pytest

CLONE_NEWNET = 0x40000000
# A worker that a busy machine makes late is steered away from, and its clients move.
NEVER_LATE = {"suspect_timeout": "20s", "stall_timeout": "20s", "hang_timeout": "1m"}


def slot_from(cluster, source, target="127.0.0.1"):
    """The slot that a client with this source address gets."""
    connection = harness.Connection.__new__(harness.Connection)
    connection.sock = socket.create_connection((target, cluster.port), 10 * harness.PATIENCE,
                                               source_address=(source, 0))
    connection.file = connection.sock.makefile("rb")
    with connection:
        return balancing.slot_of(connection)


def v4_clients(count):
    return [f"127.{n % 7}.{n % 5}.{10 + n}" for n in range(count)]


def slots_of(cluster, clients, target="127.0.0.1"):
    """The slot of each client, when every worker polls its own sockets alone. For a moment after a
    worker became ready, who stood in for its slot polls them, too."""
    def settled():
        workers = cluster.workers()
        ready = {slot for slot, worker in workers.items() if worker["state"] == "ready"}
        return not any(ready & set(worker["adopted_slots"]) for worker in workers.values())
    harness.wait_until(settled, 10, "nobody stands in for a slot that has a worker")
    return {client: slot_from(cluster, client, target) for client in clients}


def spread(cluster, count):
    """How many of `count` new connections each slot gets."""
    got = collections.Counter()
    for _ in range(count):
        with cluster.connect() as connection:
            got[balancing.slot_of(connection)] += 1
    return got


def dispatch(cluster):
    return cluster.status()["dispatch"]


def weights(cluster):
    return [slot["weight"] for slot in dispatch(cluster)["slots"]]


def change(cluster, **balance):
    cluster.config["balance"] = balance
    cluster.write_config()
    result = cluster.musterctl("reload")
    assert result.returncode == 0, result.stderr
    listeners = cluster.status()["listeners"]
    assert {(x["policy"], x["mechanism"]) for x in listeners} == {(balance["algorithm"], "classic BPF")}
    assert dispatch(cluster)["algorithm"] == balance["algorithm"]


def test_every_algorithm_by_reload(make_cluster):
    cluster = make_cluster(workers=3, max_workers=4, **NEVER_LATE)
    assert dispatch(cluster)["algorithm"] == "least-connections"

    change(cluster, algorithm="weighted", weights="6 1 1")
    assert weights(cluster) == [0.75, 0.125, 0.125, 0]
    got = spread(cluster, 400)
    assert 240 <= got[0] <= 360 and set(got) == {0, 1, 2}, got  # 300 expected, deviation 8.7

    change(cluster, algorithm="round-robin", weights="6 1 1")
    assert weights(cluster)[:3] == [0.3333, 0.3333, 0.3333]
    got = spread(cluster, 300)
    assert min(got.values()) >= 50 and set(got) == {0, 1, 2}, got  # 100 expected, deviation 8.2

    for algorithm in ("ip-hash", "consistent-hash"):
        change(cluster, algorithm=algorithm)
        first = slots_of(cluster, v4_clients(60))
        assert set(first.values()) == {0, 1, 2}, first
        assert slots_of(cluster, first) == first

    # One worker more: of the clients only those move that go to it.
    assert cluster.musterctl("scale", "4").returncode == 0
    second = slots_of(cluster, first)
    moved = {client for client in first if first[client] != second[client]}
    assert {second[client] for client in moved} == {3}
    assert 4 <= len(moved) <= 30, moved  # 15 expected, deviation 3.4
    # And back: everybody is where they were.
    assert cluster.musterctl("scale", "3").returncode == 0
    assert slots_of(cluster, first) == first


def test_a_wrong_algorithm_changes_nothing(make_cluster):
    cluster = make_cluster(env={"LB_ALGORITHM": "ip-hash"})
    assert dispatch(cluster)["algorithm"] == "ip-hash"
    cluster.config["balance"] = {"weights": "3 none"}
    cluster.write_config()
    result = cluster.musterctl("reload")
    assert result.returncode != 0 and "balance.weights" in result.stderr, result.stderr
    assert dispatch(cluster)["algorithm"] == "ip-hash"


def in_own_network(work):
    """Runs work() in a thread that has a network of its own."""
    raised = []

    def run():
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            work()
        except BaseException as error:  # shown by the test
            raised.append(error)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a network")
@pytest.mark.parametrize("algorithm", ["ip-hash", "consistent-hash"])
def test_ipv6_networks(make_cluster, algorithm):
    """Of IPv6 a /64 is one client."""
    def work():
        hosts = [f"2001:db8:0:{network:x}::{host}" for network in range(40) for host in (1, 2)]
        batch = "".join(f"addr add {host}/128 dev lo nodad\n" for host in hosts)
        subprocess.run(["ip", "-6", "-batch", "-"], input=batch, text=True, check=True)
        cluster = make_cluster(start=False, workers=4, balance={"algorithm": algorithm},
                               **NEVER_LATE)
        cluster.config[("listen", "default")]["address"] = "*"
        cluster.start()
        slots = slots_of(cluster, hosts, "2001:db8::1")
        for one, two in zip(hosts[::2], hosts[1::2]):
            assert slots[one] == slots[two], (one, slots)
        assert set(slots.values()) == {0, 1, 2, 3}, slots
        # The IPv4 group beside it hashes, too.
        first = slots_of(cluster, v4_clients(30))
        assert slots_of(cluster, first) == first
    in_own_network(work)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a network")
def test_a_kernel_that_has_no_room_for_the_program(make_cluster):
    """Older kernels give a program 20 KB; what is refused is replaced by an even spread, and told."""
    def work():
        try:
            with open("/proc/sys/net/core/optmem_max", "w", encoding="ascii") as file:
                file.write("320")
        except OSError:
            pytest.skip("this kernel has one limit for all networks")
        cluster = make_cluster(workers=2, balance={"algorithm": "consistent-hash"})
        cluster.allowed.append("refused the program")
        assert cluster.status()["listeners"][0]["policy"] == "round-robin"
        assert "the kernel refused the program of the algorithm" in cluster.log_text()
        assert set(spread(cluster, 40)) == {0, 1}
    in_own_network(work)


def test_the_shares_that_were_got(make_cluster):
    cluster = make_cluster(workers=2, report_interval="100ms", suspect_timeout="2s",
                           balance={"algorithm": "weighted", "weights": "3 1"})
    for _ in range(200):
        assert cluster.get("/hello").status == 200

    def got():
        slots = dispatch(cluster)["slots"]
        return slots if sum(slot["connections"] for slot in slots) >= 200 and slots[0]["share"] else None
    slots = harness.wait_until(got, 10, "the shares are told")
    assert slots[0]["weight"] == 0.75 and 0.55 < slots[0]["share_since_start"] < 0.95, slots
    assert abs(sum(slot["share_since_start"] for slot in slots) - 1) < 0.001
    samples = cluster.metrics()
    assert samples['muster_dispatch_weight{slot="0"}'] == 0.75
    info, = (name for name in samples if name.startswith("muster_dispatch_info{"))
    assert 'policy="weighted"' in info and 'mechanism="classic BPF"' in info, info
    assert samples['muster_dispatch_connections_total{slot="0"}'] >= 110
    assert 0.5 < samples['muster_dispatch_share{slot="0"}'] <= 1
    assert samples["muster_dispatch_program_swaps_total"] >= 1


def share_of_a_busy_worker(cluster):
    """The part of the new connections that came to slot 0 while it was busy."""
    def accepted():
        return [slot["connections"] for slot in dispatch(cluster)["slots"]]
    before = []
    report = balancing.latency_beside_a_busy_worker(
        cluster, seconds=2, when_busy=lambda: before.extend(accepted()))
    assert report["failure_count"] == 0, harness.failures_text(report)

    def new():
        count = [now - then for now, then in zip(accepted(), before)]
        return count if sum(count) >= report["answered"] else None
    count = harness.wait_until(new, 10, "every connection was reported")
    return count[0] / sum(count)


def test_least_connections_spares_a_busy_worker(make_cluster):
    """New connections do not wait behind the slow requests of one worker. How long they wait is
    measured by scripts/bench dispatch; here, by whom they are served."""
    cluster = make_cluster(workers=4, max_workers=4, worker_path=harness.TEST_WORKER, **NEVER_LATE)
    least = share_of_a_busy_worker(cluster)
    change(cluster, algorithm="round-robin")
    even = share_of_a_busy_worker(cluster)
    assert even > 0.15 and least < even / 4, (least, even)


def test_least_connections_looks_again_after_a_quiet_time(make_cluster):
    cluster = make_cluster(workers=3, worker_path=harness.TEST_WORKER, report_interval="200ms",
                           **NEVER_LATE)
    time.sleep(4)  # the master has stopped looking; if it has not, this shows nothing
    with balancing.busy_worker(cluster, slot=0, path="/test/stall?ms=60"):
        harness.wait_until(lambda: weights(cluster)[0] < 0.1, 15, lambda: weights(cluster))


def test_least_connections_levels_what_stays(make_cluster):
    """Connections that are opened while workers come, go and are restarted end evenly spread."""
    cluster = make_cluster(workers=2, max_workers=4, **NEVER_LATE)
    counts = balancing.crowd_through_changes(cluster, 1600, 400)
    assert set(counts) == {0, 1, 2}
    assert balancing.spread_error(counts) < 0.25, counts
