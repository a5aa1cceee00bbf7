# SPDX-License-Identifier: BSD-2-Clause
"""/metrics: valid in both formats, the promised names are there, and the numbers are right."""
import re
import subprocess

import harness
import pytest

OPENMETRICS = "application/openmetrics-text; version=1.0.0"

# What others rely on, from the first moment on.
PROMISED = [
    r"muster_build_info\{.*version=", r'muster_workers\{state="ready"\}',
    r"muster_worker_restarts_total\{reason=", r'muster_http_requests_total\{code="200"\}',
    r"muster_http_request_duration_seconds_bucket\{.*le=\"\+Inf\"",
    r"muster_http_request_duration_seconds_count", r"muster_connections_active\{kind=",
    r"muster_connections_accepted_total", r'muster_dispatch_connections_total\{slot="0"\}',
    r"muster_websocket_connections", r'muster_websocket_messages_total\{direction="in"\}',
    r'muster_process_cpu_seconds_total\{process="master"\}',
    r'muster_process_resident_memory_bytes\{process="master"\}',
    r'muster_loop_lag_seconds\{process="master"\}', r"muster_scaling_desired_workers",
    r'muster_scaling_decisions_total\{action="scale-up"\}',
    r"active_websocket_connections", r"websocket_active_connections", r"messages_per_second",
    r"messages_total",
]


def fetch(cluster, where, accept=None):
    headers = {"Accept": accept} if accept else {}
    if where == "public":
        return cluster.get("/metrics", headers)
    return cluster.management("GET", "/metrics", headers=headers, token=False)


@pytest.fixture(scope="module")
def used_cluster(shared_cluster):
    """After some traffic, so that no family is empty."""
    for path in ("/hello", "/hello", "/nothing-here"):
        shared_cluster.get(path)
    harness.wait_until(
        lambda: shared_cluster.metrics()["muster_http_requests_answered_total"] >= 3, 5)
    return shared_cluster


@pytest.mark.parametrize("where", ["public", "management"])
@pytest.mark.parametrize("accept", [None, OPENMETRICS])
def test_promtool_finds_nothing_wrong(used_cluster, where, accept):
    answer = fetch(used_cluster, where, accept)
    assert answer.status == 200
    if accept:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert answer.text.endswith("\n# EOF\n")
        check_openmetrics(answer.text)
        return
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    result = subprocess.run(["promtool", "check", "metrics"], input=answer.text,
                            capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def check_openmetrics(text):
    """What promtool does not check: OpenMetrics names its counters and ends differently."""
    families = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert text.count("# EOF") == 1
    seen = []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name = re.match(r"[a-zA-Z_:][a-zA-Z0-9_:]*", line).group()
        family = next(base for base in (name, re.sub(r"_(total|bucket|sum|count|info)$", "", name))
                      if base in families)
        kind = families[family]
        if kind == "counter":
            assert name == family + "_total", line
        elif kind == "info":
            assert name == family + "_info", line
        elif kind == "histogram":
            assert name != family, line
        if not seen or seen[-1] != family:
            seen.append(family)
    assert len(seen) == len(set(seen)), "a family is in two places"


def test_a_prometheus_server_can_read_it(used_cluster, tmp_path):
    """promtool parses what it checks; this asks for the parsed series of one family."""
    text = fetch(used_cluster, "management").text
    (tmp_path / "metrics").write_text(text)
    samples = harness.parse_metrics(text)
    buckets = sorted(
        (float(re.search(r'le="([^"]+)"', name).group(1).replace("+Inf", "inf")), value)
        for name, value in samples.items()
        if name.startswith("muster_http_request_duration_seconds_bucket"))
    values = [value for _, value in buckets]
    assert values == sorted(values)
    assert values[-1] == samples["muster_http_request_duration_seconds_count"]
    assert samples["muster_http_request_duration_seconds_sum"] > 0


def test_every_promised_name_is_there(used_cluster):
    text = fetch(used_cluster, "management").text
    missing = [pattern for pattern in PROMISED
               if not re.search(rf"^{pattern}", text, re.MULTILINE)]
    assert not missing


def test_the_numbers_are_right(make_cluster):
    cluster = make_cluster()
    with cluster.connect() as connection:
        for _ in range(7):
            connection.request("GET", "/hello")
        for _ in range(2):
            assert connection.request("GET", "/nothing-here").status == 404

        def counted():
            samples = cluster.metrics()
            return (samples.get('muster_http_requests_total{code="200"}') == 7
                    and samples.get('muster_http_requests_total{code="404"}') == 2 and samples)
        samples = harness.wait_until(counted, 5, "7 times 200 and 2 times 404")
        assert samples["muster_connections_accepted_total"] == 1
        assert samples['muster_connections_active{kind="http"}'] == 1
    assert samples["muster_http_request_duration_seconds_count"] == 9
    assert samples['muster_workers{state="ready"}'] == 2
    assert sum(value for name, value in samples.items()
               if name.startswith("muster_dispatch_connections_total")) == 1
    harness.wait_until(
        lambda: cluster.metrics()['muster_connections_active{kind="http"}'] == 0, 5, "closed")
    pid = cluster.kill_worker(0)
    cluster.wait_replaced(0, pid)
    assert cluster.metrics()['muster_worker_restarts_total{reason="crash"}'] == 1


def test_the_public_port_answers_for_the_whole_cluster(used_cluster):
    for _ in range(8):  # whichever worker is asked
        samples = harness.parse_metrics(fetch(used_cluster, "public").text)
        assert samples['muster_workers{state="ready"}'] == 2


def test_metrics_can_be_turned_off(make_cluster):
    cluster = make_cluster(metrics={"enabled": False}, health={"enabled": False})
    assert cluster.get("/metrics").status == 404
    assert cluster.get("/health").status == 404
    assert cluster.management("GET", "/metrics").status == 200
