# SPDX-License-Identifier: BSD-2-Clause
"""Nothing is dropped: the table of scripts/bench churn in small, asserted.

Each test does one thing to a busy cluster a few times, at once and 20 ms away, and no client may
see more of it than the row allows. scripts/bench churn does the same for long, beside others."""
import churn
import harness
import pytest
import wire

pytestmark = pytest.mark.heavy

# Less than the table's, so that a small machine that does other things as well keeps up.
LOAD = {"new_rate": 500, "keepalive": 32, "keepalive_rate": 500}


@pytest.fixture(params=["loopback", "20 ms"])
def place(request):
    """None, or a wire to a server that is 20 ms away."""
    if request.param == "loopback":
        yield None
        return
    try:
        line = wire.Wire()
    except wire.Unavailable as error:
        pytest.skip(f"no network namespaces here: {error}")
    with line:
        yield line


@pytest.fixture
def subject():
    """subject(place, workers=2): a cluster that is ended and checked with the test."""
    clusters = []

    def start(place=None, **config):
        one = churn.Muster(place, **config)
        one.load_size = LOAD
        clusters.append(one)
        return one.__enter__()
    yield start
    for one in reversed(clusters):
        one.__exit__()


def nothing_failed(result, requests=200):
    assert result.failed == 0 and not result.failures and not result.notes, result.text()
    assert result.overrun == 0, "the load client could not start every connection"
    assert result.requests > requests, result.text()


def test_scaling(subject, place):
    nothing_failed(churn.scaling(subject(place), 3 if place else 8))


def test_reload(subject, place):
    nothing_failed(churn.reloads(subject(place), 2 if place else 5))


def test_reload_with_a_broken_configuration(subject):
    nothing_failed(churn.reloads_broken(subject(), 2))


def test_reload_with_workers_that_crash(subject):
    nothing_failed(churn.reloads_crashing(subject(), 1))


def test_kill_9_of_workers(subject, place):
    """Only what was in flight in the killed worker fails."""
    nothing_failed(churn.worker_kills(subject(place), 3 if place else 5))


def test_kill_9_of_the_master(subject, place):
    """Nobody notices; no worker is restarted and no counter falls."""
    nothing_failed(churn.master_kills(subject(place), 2 if place else 4))


def test_upgrade(subject):
    """The programs are replaced on disk and taken into use, in the same process."""
    nothing_failed(churn.upgrades(subject(), 2))


def test_sigterm_and_start(subject, place):
    nothing_failed(churn.restarts(subject(place), 1 if place else 2))


def test_a_stopped_worker(subject):
    """Nobody fails; new connections wait for it as long as it takes to be suspect, no longer."""
    result = churn.worker_stops(subject(), 1, seconds=1.5)
    nothing_failed(result)
    assert result.longest_new_ms < 300 + 700 * harness.PATIENCE, result.slow[:5]
