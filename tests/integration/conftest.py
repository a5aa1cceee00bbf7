# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures: clusters that are ended and checked, a time limit, logs only where a test failed."""
import signal

import harness
import pytest

LOG_TAIL_LINES = 150


def pytest_configure(config):
    config.addinivalue_line("markers", "heavy: takes long; run once, not under the sanitizers")
    config.addinivalue_line("markers", "limit(seconds): time limit of one test, 60 by default")
    harness.adopt_orphans()
    if not harness.MUSTERD.exists():
        raise pytest.UsageError(f"{harness.MUSTERD} is not there: build it, or set MUSTER_BIN_DIR")


def log_tail(cluster):
    return "\n".join(cluster.log_text().splitlines()[-LOG_TAIL_LINES:])


live = []  # clusters that have been made and not removed


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed and call.when != "teardown":
        for cluster in live:
            report.sections.append((f"log of musterd in {cluster.dir}", log_tail(cluster)))


@pytest.fixture(autouse=True)
def time_limit(request):
    """A test that hangs fails by itself, with its stack and its logs."""
    marker = request.node.get_closest_marker("limit")
    seconds = (marker.args[0] if marker else 60) * harness.PATIENCE

    def on_alarm(*_):
        raise TimeoutError(f"the test took longer than {seconds} s")
    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


class Factory:
    """Makes clusters and ends them in reverse order."""

    def __init__(self):
        self.clusters = []

    def __call__(self, start=True, sections=None, env=None, args=(), use_config_file=True,
                 prefix=(), pass_fds=(), preexec=None, **config):
        """Keyword arguments are configuration keys; `sections` holds those that need a title."""
        cluster = harness.Cluster({**config, **(sections or {})}, env, args, use_config_file,
                                  prefix, pass_fds, preexec)
        self.clusters.append(cluster)
        live.append(cluster)
        return cluster.start() if start else cluster

    def close(self):
        problems = []
        for cluster in reversed(self.clusters):
            try:
                cluster.close()
            except AssertionError as error:
                problems.append(f"{error}\n{log_tail(cluster)}")
            live.remove(cluster)
            cluster.remove()
        if problems:
            pytest.fail("\n".join(problems), pytrace=False)


@pytest.fixture
def make_cluster():
    """make_cluster(workers=3, http={"header_timeout": "1s"}): a cluster of one's own."""
    factory = Factory()
    yield factory
    factory.close()


@pytest.fixture
def cluster(make_cluster):
    """Two workers, a text route /hello, running."""
    return make_cluster()


@pytest.fixture(scope="module")
def shared_cluster():
    """The same for tests that leave it as they found it: started once for a module."""
    factory = Factory()
    yield factory()
    factory.close()


@pytest.fixture
def load():
    """load(cluster, "--keepalive", 64): a load client, ended with the test."""
    clients = []

    def start(cluster, *args, **options):
        clients.append(cluster.load(*args, **options))
        return clients[-1]
    yield start
    for client in clients:
        client.kill()
