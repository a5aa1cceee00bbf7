# SPDX-License-Identifier: BSD-2-Clause
"""The master becomes the program that is on disk now, in the same process; nobody notices."""
import os
import re
import shutil
import signal
import socket
import subprocess

import harness
import pytest

VERSION = subprocess.run([harness.MUSTERD, "--version"], capture_output=True, text=True,
                         check=True).stdout.split()[1]
NEXT_VERSION = "9" + VERSION[1:]  # as long: it takes the old one's place in the file


def install(cluster, version=VERSION, worker=True, master=True):
    """Puts programs of this version where the cluster is started from, as a package would."""
    directory = cluster.dir / "bin"
    directory.mkdir(exist_ok=True)
    names = [name for name, wanted in (("musterd", master), ("muster-worker", worker)) if wanted]
    for name in names:
        content = (harness.BIN_DIR / name).read_bytes()
        assert VERSION.encode() + b"\0" in content
        new = directory / (name + ".new")
        new.write_bytes(content.replace(VERSION.encode() + b"\0", version.encode() + b"\0"))
        new.chmod(0o755)
        new.rename(directory / name)
    return directory


def replace(cluster, name, content):
    path = cluster.dir / "bin" / name
    new = path.with_suffix(".new")
    new.write_bytes(content.encode() if isinstance(content, str) else content)
    new.chmod(0o755)
    new.rename(path)


@pytest.fixture
def installed(make_cluster):
    """A cluster that runs from a directory of its own."""
    def start(**config):
        cluster = make_cluster(start=False, canary_time="100ms", **config)
        cluster.program = install(cluster) / "musterd"
        return cluster.start()
    return start


def versions(cluster):
    return {worker["version"] for worker in cluster.workers().values()}


def test_the_same_process_becomes_the_new_version(installed, load):
    cluster = installed(workers=3)
    client = load(cluster, "--keepalive", 16, "--new-rate", 300).wait_flowing()
    cluster.get("/hello")
    before = harness.wait_until(lambda: cluster.status()["totals"]["requests"])
    for version in (NEXT_VERSION, VERSION):
        pids = cluster.worker_pids()
        install(cluster, version)
        result = cluster.musterctl("upgrade")
        assert result.returncode == 0, result.stderr
        assert version in result.stdout, result.stdout
        status = cluster.status()
        assert status["master"]["pid"] == cluster.process.pid
        assert status["version"] == version and versions(cluster) == {version}
        assert not set(pids) & set(cluster.worker_pids())
        assert status["upgrade"]["failed"] is False and status["upgrade"]["running"] is False
        assert status["totals"]["requests"] >= before
        before = status["totals"]["requests"]
    report = client.stop()
    assert report["failure_count"] == 0, harness.failures_text(report)
    assert cluster.process.poll() is None
    pid = cluster.kill_worker(0, signal.SIGSEGV)
    cluster.wait_replaced(0, pid)
    assert cluster.workers()[0]["last_exit"]["cause"].startswith("killed by SIGSEGV")


def test_by_signal(installed):
    cluster = installed()
    install(cluster, NEXT_VERSION)
    cluster.send_signal(signal.SIGUSR2)
    cluster.wait_log("upgrade finished")
    assert cluster.status()["version"] == NEXT_VERSION
    assert cluster.status()["upgrade"]["who"] == "SIGUSR2"
    for number in (signal.SIGHUP, signal.SIGUSR1):
        cluster.send_signal(number)
    cluster.wait_log("reload finished", count=2)


def test_signals_while_it_changes_are_not_lost(installed):
    cluster = installed()
    cluster.send_signal(signal.SIGUSR2)
    for _ in range(200):
        cluster.send_signal(signal.SIGUSR1)
        cluster.send_signal(signal.SIGTTIN)
        cluster.send_signal(signal.SIGTTOU)
    cluster.wait_log("upgrade finished")
    cluster.wait_log("logs reopened")
    assert cluster.get("/hello").status == 200


@pytest.mark.parametrize("content, reason", [
    ("#!/bin/sh\necho the disk was full\nexit 3\n", "status 3): the disk was full"),
    ("#!/bin/sh\nexit 0\n", "not a musterd"),
    ("#!/bin/sh\necho musterd 7.0.0 contract 99-100\n", "does not understand the workers"),
    ("#!/bin/sh\nkill -SEGV $$\n", "killed by SIGSEGV"),
    (b"\x7fELF broken", "cannot execute"),
])
def test_a_program_that_cannot_take_over_is_refused(installed, content, reason):
    cluster = installed()
    pids = cluster.worker_pids()
    replace(cluster, "musterd", content)
    result = cluster.musterctl("upgrade")
    assert result.returncode == 1 and reason in result.stderr, result.stderr
    assert cluster.worker_pids() == pids
    status = cluster.status()
    assert status["upgrade"]["failed"] and reason in status["upgrade"]["message"]
    assert status["version"] == VERSION and cluster.get("/hello").status == 200


def test_no_program_at_all(installed):
    cluster = installed()
    (cluster.dir / "bin/musterd").unlink()
    result = cluster.musterctl("upgrade")
    assert result.returncode == 1 and "No such file" in result.stderr
    install(cluster, NEXT_VERSION)
    assert cluster.musterctl("upgrade").returncode == 0


def test_a_wrong_configuration_is_seen_before_anything_happens(installed):
    cluster = installed()
    pids = cluster.worker_pids()
    cluster.config_path.write_text("workers = many\n")
    result = cluster.musterctl("upgrade")
    assert result.returncode == 1 and "muster.conf:1" in result.stderr, result.stderr
    assert cluster.worker_pids() == pids


def test_a_program_that_checks_well_and_cannot_start(installed, load):
    """It goes back to the program before, with the configuration that that one ran with."""
    cluster = installed()
    client = load(cluster, "--keepalive", 8, "--new-rate", 200).wait_flowing()
    pids = cluster.worker_pids()
    install(cluster, NEXT_VERSION)
    with socket.create_server(("127.0.0.2", harness.free_port())) as taken:
        cluster.write_config(management={"port": taken.getsockname()[1], "address": "127.0.0.2"})
        result = cluster.musterctl("upgrade")
    assert result.returncode == 1, result.stdout
    assert "could not start" in result.stderr and "already in use" in result.stderr, result.stderr
    status = cluster.status()
    assert status["version"] == VERSION and status["upgrade"]["failed"]
    assert status["master"]["pid"] == cluster.process.pid
    assert cluster.worker_pids() == pids
    report = client.stop()
    assert report["failure_count"] == 0, harness.failures_text(report)
    # With the mistake gone it is the same as ever.
    cluster.write_config(management={"port": cluster.management_port, "address": "127.0.0.1"})
    assert cluster.musterctl("upgrade").returncode == 0
    assert cluster.status()["version"] == NEXT_VERSION


def test_without_any_worker(make_cluster):
    """What waits in the sockets is not lost, neither there nor on the way back."""
    cluster = make_cluster(start=False)
    cluster.program = install(cluster, worker=False) / "musterd"
    cluster.config["worker_path"] = cluster.dir / "bin" / "muster-worker"
    cluster.spawn()
    cluster.wait_managed()
    with harness.Connection(cluster.address) as client:
        client.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        install(cluster, NEXT_VERSION, worker=False)
        with socket.create_server(("127.0.0.2", harness.free_port())) as taken:
            cluster.write_config(
                management={"port": taken.getsockname()[1], "address": "127.0.0.2"})
            result = cluster.musterctl("upgrade")
        assert "could not start" in result.stderr, result.stderr
        cluster.write_config(management={"port": cluster.management_port, "address": "127.0.0.1"})
        result = cluster.musterctl("upgrade")
        assert result.returncode == 0, result.stderr
        assert cluster.status()["version"] == NEXT_VERSION
        install(cluster, NEXT_VERSION)
        assert client.read_response().status == 200
    cluster.wait_ready()


def test_a_directory_for_each_version(make_cluster):
    """A symbolic link that is switched, and a relative path. Who dies before the new version has
    proved itself is replaced by the old program, even when that is gone from the disk."""
    cluster = make_cluster(start=False, canary_time="100ms")
    for directory, version in (("one", VERSION), ("two", NEXT_VERSION)):
        install(cluster, version).rename(cluster.dir / directory)
    (cluster.dir / "current").symlink_to("one")
    cluster.program = "current/musterd"
    cluster.start()
    (cluster.dir / "next").symlink_to("two")
    (cluster.dir / "next").rename(cluster.dir / "current")
    shutil.rmtree(cluster.dir / "one")
    good = (cluster.dir / "two" / "muster-worker").rename(cluster.dir / "two" / "good")
    (cluster.dir / "two" / "muster-worker").write_text("#!/bin/sh\nexit 3\n")
    (cluster.dir / "two" / "muster-worker").chmod(0o755)
    assert cluster.musterctl("upgrade").returncode == 1
    assert cluster.status()["version"] == NEXT_VERSION
    pid = cluster.kill_worker(0)
    cluster.wait_replaced(0, pid)
    cluster.wait_ready()
    assert versions(cluster) == {VERSION}
    good.rename(cluster.dir / "two" / "muster-worker")
    assert cluster.musterctl("upgrade").returncode == 0
    assert versions(cluster) == {NEXT_VERSION}


def test_the_canary_of_the_new_version_fails(installed, load):
    cluster = installed()
    client = load(cluster, "--keepalive", 8, "--new-rate", 200).wait_flowing()
    pids = cluster.worker_pids()
    cluster.write_config(http={"server_header": "new"})
    install(cluster, NEXT_VERSION, worker=False)
    shutil.copy("/bin/false", cluster.dir / "bin/worker.new")
    (cluster.dir / "bin/worker.new").rename(cluster.dir / "bin/muster-worker")
    result = cluster.musterctl("upgrade")
    assert result.returncode == 1 and "exited with status 1" in result.stderr, result.stderr
    assert "could not take over" in result.stderr
    status = cluster.status()
    assert status["version"] == NEXT_VERSION and status["upgrade"]["failed"]
    assert cluster.worker_pids() == pids and versions(cluster) == {VERSION}
    report = client.stop()
    assert report["failure_count"] == 0, harness.failures_text(report)
    # Who dies now is replaced by what has proven itself, not by what is on disk.
    for slot in (0, 1):
        pid = cluster.kill_worker(slot)
        cluster.wait_replaced(slot, pid)
    assert versions(cluster) == {VERSION}
    assert cluster.get("/hello").headers["server"] == "muster"


def test_during_a_reload_it_is_refused(installed):
    cluster = installed()
    cluster.write_config(canary_time="5s")
    with subprocess.Popen([str(harness.MUSTERCTL), "--socket", str(cluster.management_socket),
                           "reload"], stdout=subprocess.PIPE) as reload:
        harness.wait_until(lambda: (cluster.status()["reload"] or {}).get("running"), 10)
        result = cluster.musterctl("upgrade")
        assert result.returncode == 1 and "a reload is under way" in result.stderr
        assert reload.wait(30) == 0


def test_several_clients_wait(installed):
    cluster = installed()
    first = subprocess.Popen([str(harness.MUSTERCTL), "--socket", str(cluster.management_socket),
                              "--json", "upgrade"], stdout=subprocess.PIPE, text=True)
    harness.wait_until(lambda: cluster.log_lines("upgrade started"), 10)
    output, _ = first.communicate(timeout=30)
    assert first.returncode == 0 and re.search(r'"done": ?true', output), output


def test_workers_of_the_contract_before_are_understood(make_cluster, load):
    """From old to new and back under load; crashes, suspicion and scaling in between."""
    cluster = make_cluster(worker_path=harness.OLD_WORKER, workers=3, canary_time="100ms",
                           report_interval="200ms")
    client = load(cluster, "--keepalive", 8, "--new-rate", 300).wait_flowing()
    for program in (harness.WORKER, harness.OLD_WORKER):
        cluster.write_config(worker_path=program)
        result = cluster.musterctl("reload")
        assert result.returncode == 0, result.stderr
        for pid in cluster.worker_pids():
            assert os.readlink(f"/proc/{pid}/exe") == str(program)
        for count in ("1", "3"):
            assert cluster.musterctl("scale", count).returncode == 0
    report = client.stop()
    assert report["failure_count"] == 0, harness.failures_text(report)
    pid = cluster.kill_worker(0)
    cluster.wait_replaced(0, pid)
    pid = cluster.kill_worker(1, signal.SIGSTOP)
    try:
        harness.wait_until(lambda: cluster.workers()[1]["state"] == "suspect", 10)
        for _ in range(20):
            assert cluster.get("/hello").status == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    harness.wait_until(lambda: cluster.workers()[1]["state"] == "ready", 20)
    assert cluster.worker_pid(1) == pid


def test_nothing_is_left_open(installed):
    """Descriptors of the program before do not pile up."""
    cluster = installed()
    counts = []
    for _ in range(4):
        assert cluster.musterctl("upgrade").returncode == 0
        cluster.wait_ready()
        harness.wait_until(lambda: cluster.status()["worker_counts"]["draining"] == 0)
        counts.append(len(os.listdir(f"/proc/{cluster.process.pid}/fd")))
    assert counts[-1] <= counts[0] + 2, counts


def test_a_start_with_such_variables_is_an_ordinary_start(make_cluster):
    """They are for the process that they name."""
    cluster = make_cluster(env={"MUSTER_UPGRADE_FAILED": "nothing", "MUSTER_UPGRADE_BACK": "3",
                                "MUSTER_UPGRADE_PID": "1", "MUSTER_UPGRADE_CLIENTS": "4,5"})
    assert cluster.status()["upgrade"] is None
    assert not cluster.log_lines("upgrade failed")
