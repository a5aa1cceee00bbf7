# SPDX-License-Identifier: BSD-2-Clause
"""Workers that stop, hang or stall: nobody is to wait for them."""
import threading

import harness
import pytest
from harness import Connection, Watch, wait_until


@pytest.fixture
def make_watched(make_cluster):
    """Clusters of the worker with routes that misbehave (tests/tools/test_worker.c)."""
    def make(**config):
        return make_cluster(worker_path=harness.TEST_WORKER, **config)
    return make


def test_the_test_worker_misbehaves_as_it_says(make_watched):
    cluster = make_watched(workers=1)
    with Connection(cluster.address) as slow, Connection(cluster.address) as other:
        delayed = threading.Thread(target=slow.request, args=("GET", "/test/delay?ms=300"))
        watch = Watch()
        delayed.start()
        assert other.request("GET", "/hello").status == 200
        delayed.join()
        assert watch.seconds >= 0.3
        for path in ("/test/slow?ms=50", "/test/stall?ms=50"):
            watch = Watch()
            assert other.request("GET", path).text == "done\n"
            assert watch.seconds >= 0.05
    before = cluster.worker_pids()
    with Connection(cluster.address) as connection, pytest.raises(ConnectionError):
        connection.request("GET", "/test/crash")
    wait_until(lambda: cluster.is_ready() and cluster.worker_pids() != before,
               what="the crashed worker is replaced")


def test_events_tell_what_happened(make_watched):
    cluster = make_watched(workers=1, max_workers=3)
    assert cluster.musterctl("scale", "2", "--reason", "more to do").returncode == 0
    with Connection(cluster.address) as connection, pytest.raises(ConnectionError):
        connection.request("GET", "/test/crash")
    wait_until(lambda: cluster.events("death"), what="the death is an event")
    events = cluster.events()
    assert [event["kind"] for event in events[-2:]] == ["scale", "start"], events
    assert events[-2]["text"] == "from 1 to 2 workers: more to do"
    death = cluster.events("death")[0]
    assert death["slot"] in (0, 1) and death["pid"] and "SIGSEGV" in death["text"], death
    assert cluster.status()["events"] == events[:20]
    assert cluster.management("GET", "/events?limit=1").json == events[:1]
    bad = cluster.management("GET", "/events?limit=many")
    assert (bad.status, "1 to 512" in bad.text) == (400, True), bad.text
    shown = cluster.musterctl("events")
    assert shown.returncode == 0 and "more to do" in shown.stdout.splitlines()[1], shown.stdout
