# SPDX-License-Identifier: BSD-2-Clause
"""Workers that have served long enough are replaced, one at a time, and nobody notices."""
import re

import harness


def recycled(cluster):
    """What the log says of each worker that was recycled: (slot, pid)."""
    return [tuple(map(int, re.search(r"slot=(\d+) pid=(\d+)", line).groups()))
            for line in cluster.log_lines("recycling a worker")]


def check_one_by_one(cluster):
    """Between two recyclings there is a worker that became ready, in the slot of the first."""
    waiting = None
    for line in cluster.log_lines("recycling a worker|worker ready slot"):
        slot = re.search(r"slot=(\d+)", line).group(1)
        if "recycling" in line:
            assert waiting is None, line
            waiting = slot
        elif waiting == slot:
            waiting = None


def test_after_so_many_requests(make_cluster, load):
    cluster = make_cluster(workers=3, report_interval="100ms",
                           recycle={"requests": 300, "jitter": 50, "min_age": "1s"})
    pids = cluster.worker_pids()
    client = load(cluster, "--keepalive", 16, "--new-rate", 100).wait_flowing()
    harness.wait_until(lambda: {slot for slot, _ in recycled(cluster)} == {0, 1, 2}, 20,
                       "each slot has had one recycled")
    harness.wait_until(lambda: not set(pids) & set(cluster.worker_pids()), 10, "all are new")
    report = client.stop()
    assert not report["failures"], harness.failures_text(report)
    check_one_by_one(cluster)
    last = cluster.management("GET", "/cluster/workers/0", over_socket=True).json["last_exit"]
    assert last["reason"] == "recycle"
    assert re.fullmatch(r"after [\d,]+ requests \(bound 300 \+ [\d.]+ % jitter\)", last["why"])
    assert cluster.status()["totals"]["restarts"] == 0  # nothing has failed
    events = cluster.management("GET", "/events", over_socket=True).text
    assert '"recycle"' in events


def test_a_memory_bound_below_a_fresh_worker_makes_no_storm(make_cluster):
    """Each time it takes twice as long, and the log says why."""
    cluster = make_cluster(workers=1, report_interval="100ms",
                           recycle={"memory": "1m", "jitter": 0, "min_age": "1s"})
    watch = harness.Watch()
    cluster.wait_log("recycle.memory is near what a fresh worker needs", timeout=20)
    # After 1 s and 2 s more: so long it took at least, however slow this machine is.
    assert watch.seconds >= 2.5
    assert len(recycled(cluster)) == 2
    assert "MiB of memory (bound 1.0 MiB + 0.0 % jitter)" in cluster.log_lines("recycling")[0]
    assert cluster.get("/hello").status == 200


def test_a_lifetime_that_a_reload_sets(make_cluster):
    cluster = make_cluster()
    cluster.write_config(recycle={"lifetime": "1s", "min_age": "1s", "jitter": 100})
    assert cluster.musterctl("reload").returncode == 0
    cluster.wait_log("recycling a worker", count=3, timeout=20)
    check_one_by_one(cluster)
    cluster.write_config(recycle={"lifetime": "0"})
    harness.wait_until(lambda: cluster.musterctl("reload").returncode == 0, 10)
    count = len(recycled(cluster))
    harness.wait_until(cluster.is_ready, 10)
    assert len(recycled(cluster)) == count
