# SPDX-License-Identifier: BSD-2-Clause
"""Growing and shrinking by any number at once, in every way there is, under load: nobody notices."""
import signal

import harness
import pytest

MOST = 6


@pytest.fixture
def busy(make_cluster, load):
    """A cluster of one worker that may become six, and a client that is to notice nothing."""
    cluster = make_cluster(workers=1, max_workers=MOST, canary_time="0s")
    client = load(cluster, "--keepalive", 24, "--new-rate", 200).wait_flowing()
    yield cluster
    report = client.stop()
    assert not report["failures"], harness.failures_text(report)
    assert report["answered"] > 100


def wait_ready(cluster, count):
    def there():
        counts = cluster.status()["worker_counts"]
        return counts["ready"] == counts["desired"] == count
    return harness.wait_until(there, 15, f"{count} workers are ready")


def test_with_musterctl(busy):
    for _ in range(4):
        for count in (MOST, 1, 3, 1):
            result = busy.musterctl("scale", str(count))
            assert result.returncode == 0, result.stderr
            assert f"{count} workers are ready" in result.stdout
    harness.wait_until(lambda: len(busy.workers()) == 1, 15, "the others have left")


def test_over_http_without_waiting(busy):
    """Each change overtakes the one before."""
    for count in (MOST, 1, MOST, 2, 5, 1, 4) * 4:
        answer = busy.management("POST", "/scaling/manual?wait=0", {"instances": count},
                                 over_socket=True)
        assert answer.status in (200, 202), answer.text
    wait_ready(busy, 4)


def test_with_signals(busy):
    for _ in range(3):
        for _ in range(MOST + 2):  # two of them are told that there are no more
            busy.send_signal(signal.SIGTTIN)
            harness.wait_until(busy.status, 5)  # signals of one kind do not queue
        wait_ready(busy, MOST)
        for _ in range(MOST + 2):
            busy.send_signal(signal.SIGTTOU)
            harness.wait_until(busy.status, 5)
        wait_ready(busy, 1)


def test_while_it_reloads(busy):
    """A reload during a change of the number, and a change during a reload."""
    generation = busy.status()["generation"]
    for count in (MOST, 1, 4, 2):
        busy.management("POST", "/scaling/manual?wait=0", {"instances": count}, over_socket=True)
        assert busy.musterctl("reload").returncode == 0
        wait_ready(busy, count)
        busy.management("POST", "/cluster/reload?wait=0", over_socket=True)
        result = busy.musterctl("scale", str(MOST + 1 - count))
        assert result.returncode == 0, result.stderr
        harness.wait_until(lambda: not busy.status()["reload"]["running"], 20, "the reload ends")
    status = busy.status()
    assert status["generation"] == generation + 8 and not status["reload"]["failed"]
    assert {worker["generation"] for worker in status["workers"]
            if worker["pid"]} == {status["generation"]}
