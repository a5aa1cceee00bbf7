# SPDX-License-Identifier: BSD-2-Clause
"""A master that is killed costs nothing: the workers serve on and the next master takes them over."""
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import threading
import time

import harness
import pytest
import test_control_socket



CLONE_NEWNS = 0x20000


def counters(cluster):
    """Every counter there is, the master's own ones included."""
    return {name: value for name, value in cluster.metrics().items()
            if name.partition("{")[0].endswith(("_total", "_count", "_bucket"))}


def assert_not_fallen(before, after):
    fallen = {name: (value, after.get(name)) for name, value in before.items()
              if after.get(name, 0) < value}
    assert not fallen, f"counters that fell: {fallen}"


def succeed(cluster):
    """A new master in the place of one that was killed."""
    cluster.spawn()
    cluster.wait_ready()


def test_workers_and_sockets_are_taken_over_under_load(make_cluster, load):
    cluster = make_cluster(workers=3)
    client = load(cluster, "--keepalive", 16, "--new-rate", 300).wait_flowing()
    pids = cluster.worker_pids()
    before = counters(cluster)
    for round_number in range(1, 6):
        cluster.kill_master()
        assert cluster.get("/hello").status == 200
        succeed(cluster)
        assert cluster.worker_pids() == pids, "no worker is restarted"
        status = cluster.status()
        assert status["masters_before"] == round_number
        after = counters(cluster)
        assert_not_fallen(before, after)
        before = after
    report = client.stop()
    assert report["failure_count"] == 0, harness.failures_text(report)
    assert report["answered"] > 100
    assert all(worker["restarts"] == 0 and worker["connected"]
               for worker in cluster.workers().values())
    assert cluster.log_lines(r"roll call: .*adopted=3")


def test_everything_works_after_the_roll_call(make_cluster, load):
    """Steering, adoption of sockets, scaling, reload and the drain, with adopted workers."""
    cluster = make_cluster(workers=3, max_workers=4)
    cluster.kill_master()
    succeed(cluster)
    client = load(cluster, "--keepalive", 8, "--new-rate", 300).wait_flowing()
    for instances in (1, 4, 2):
        assert cluster.musterctl("scale", str(instances)).returncode == 0
    pids = cluster.worker_pids()
    assert cluster.musterctl("reload").returncode == 0
    assert not set(pids) & set(cluster.worker_pids())
    report = client.stop()
    assert report["failure_count"] == 0, harness.failures_text(report)
    pid = cluster.kill_worker(0)
    cluster.wait_replaced(0, pid)


BEGAN_TO_SERVE = '''
import time
worker.hello()
while True:
    kind, fields = worker.receive()
    if kind == ASSIGN:
        break
with open(sys.argv[0] + ".serves", "w") as file:
    file.write(str(os.getpid()))
try:
    while worker.sock.recv(1 << 17):
        pass
except ConnectionError:
    pass
STATE_FIELD, SERVING, path = 6, 1, dict(zip(sys.argv[1::2], sys.argv[2::2]))["--control"]
while True:
    try:
        worker.sock = connect(path)
        worker.send(HELLO, (SLOT, u32(worker.slot)), (PID, u32(os.getpid())),
                    (GENERATION, u64(worker.generation)), (STATE_FIELD, u32(SERVING)),
                    (EPOCH, fields[EPOCH]), (SLOTS, fields[SLOTS]))
        worker.receive()
        break
    except (OSError, SystemExit): # the one that dies, or none yet
        time.sleep(0.05)
worker.go_on()
'''


def test_a_worker_whose_ready_was_not_heard_goes_on(make_cluster):
    """It polls its socket and may have clients: what the master did not hear in time is no
    reason to kill it."""
    cluster = make_cluster(start=False, suspect_timeout="20s", hang_timeout="40s")
    test_control_socket.one_bad_worker(cluster, BEGAN_TO_SERVE)
    cluster.spawn()
    serves = cluster.dir / "fake.py.serves"
    harness.wait_until(lambda: serves.exists() and serves.read_text())
    pid = int(serves.read_text())
    harness.wait_until(lambda: any(worker["state"] == "ready"
                                   for worker in cluster.workers().values()))
    cluster.kill_master()
    succeed(cluster)
    assert pid in cluster.worker_pids()
    assert harness.process_alive(pid)


HANDS_OVER_ANOTHER = BEGAN_TO_SERVE.replace("import time", """import time, fake_worker
fake_worker.CONTRACT = 2""").replace("worker.go_on()", """
CALL, SOCKETS, GROUP, FIRST, LAST = 40, 7, 9, 10, 25
other = socket.create_server(("127.0.0.1", 0), reuse_port=True)
while True:
    kind, fields = worker.receive()
    if kind == CALL:
        socket.send_fds(worker.sock, [message(SOCKETS, (GROUP, u32(0)), (FIRST, u32(0)))],
                        [other.fileno()])
        worker.send(SOCKETS, (LAST, u32(1)))
        open(sys.argv[0] + ".called", "w").close()
        break
worker.go_on()
""")


def test_a_worker_that_hands_over_other_sockets_is_not_believed(make_cluster):
    cluster = make_cluster(start=False, workers=1, max_workers=2, suspect_timeout="20s",
                           hang_timeout="40s")
    test_control_socket.one_bad_worker(cluster, HANDS_OVER_ANOTHER)
    cluster.spawn()
    harness.wait_until(lambda: (cluster.dir / "fake.py.serves").exists())
    cluster.musterctl("scale", "--no-wait", "2")
    harness.wait_until(lambda: cluster.status()["worker_counts"]["ready"])
    cluster.kill_master()
    cluster.spawn()
    cluster.wait_managed()
    assert [(l["name"], l["address"]) for l in cluster.status()["listeners"]] == [
        ("default", f"127.0.0.1:{cluster.port}")]
    assert (cluster.dir / "fake.py.called").exists()  # first, being the oldest
    cluster.wait_log("handed over other sockets than the master before had")


def test_a_worker_that_died_without_a_master_still_counts(make_cluster):
    cluster = make_cluster(report_interval="100ms")
    for _ in range(20):
        cluster.get("/hello")
    harness.wait_until(lambda: cluster.status()["totals"]["requests"] >= 20)
    before = counters(cluster)
    pids = cluster.worker_pids()
    cluster.kill_master()
    harness.kill(pids[0])
    succeed(cluster)
    assert_not_fallen(before, counters(cluster))
    workers = cluster.workers()
    assert workers[1]["pid"] == pids[1], "the other one was not touched"
    assert workers[0]["pid"] != pids[0]
    cause = workers[0]["last_exit"]["cause"]
    assert "while there was no master" in cause or cause == "killed by SIGKILL", cause
    assert workers[0]["restarts"] == 1


def test_how_an_adopted_worker_died_is_known(make_cluster):
    cluster = make_cluster()
    cluster.kill_master()
    succeed(cluster)
    pid = cluster.kill_worker(0, signal.SIGSEGV)
    cluster.wait_replaced(0, pid)
    assert cluster.workers()[0]["last_exit"]["cause"].startswith("killed by SIGSEGV")


def test_everybody_killed_and_the_counters_go_on(make_cluster):
    cluster = make_cluster(report_interval="100ms")
    for _ in range(20):
        cluster.get("/hello")
    harness.wait_until(lambda: cluster.status()["totals"]["requests"] >= 20)
    before = counters(cluster)
    pids = cluster.worker_pids()
    cluster.kill_master()
    for pid in pids:
        harness.kill(pid)
    succeed(cluster)
    assert_not_fallen(before, counters(cluster))
    assert not set(pids) & set(cluster.worker_pids())


def test_a_stopped_cluster_leaves_nothing_to_the_next(make_cluster):
    cluster = make_cluster()
    cluster.get("/hello")
    assert (cluster.run_dir / "cluster.state").stat().st_mode & 0o777 == 0o600
    assert cluster.stop() == 0
    assert not (cluster.run_dir / "cluster.state").exists()
    cluster.spawn()
    status = cluster.wait_ready()
    assert status["totals"]["requests"] == 0 and status["masters_before"] == 0


def test_a_worker_that_is_stuck_at_the_roll_call(make_cluster):
    """It is suspected, not killed, and comes back when it can."""
    cluster = make_cluster(hang_timeout="60s")
    pids = cluster.worker_pids()
    os.kill(pids[1], signal.SIGSTOP)
    try:
        cluster.kill_master()
        cluster.spawn()
        cluster.wait_managed()
        workers = cluster.workers()
        assert workers[0]["state"] == "ready" and workers[1]["state"] == "suspect", workers
        for _ in range(20):
            assert cluster.get("/hello").status == 200
    finally:
        os.kill(pids[1], signal.SIGCONT)
    cluster.wait_ready()
    assert cluster.worker_pids() == pids


def test_all_stuck_and_one_wakes_up(make_cluster):
    cluster = make_cluster(hang_timeout="60s")
    pids = cluster.worker_pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    cluster.kill_master()
    cluster.spawn()
    cluster.wait_log("no worker answers the roll call")
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    cluster.wait_ready()
    assert cluster.worker_pids() == pids


def test_all_stuck_for_good_are_replaced(make_cluster):
    cluster = make_cluster(suspect_timeout="2s", hang_timeout="4s")
    cluster.allowed.append("answers nobody")
    pids = cluster.worker_pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    cluster.kill_master()
    cluster.spawn()
    cluster.wait_ready(30)
    assert not set(pids) & set(cluster.worker_pids())
    assert cluster.get("/hello").status == 200


def test_a_worker_that_drains_goes_on_draining(make_cluster):
    """Its client gets its answer from the same process, across two masters."""
    cluster = make_cluster(worker_path=harness.TEST_WORKER, reload_drain_timeout="30s")
    old = cluster.worker_pids()
    with socket.create_connection(cluster.address, 10 * harness.PATIENCE) as client:
        client.sendall(b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        harness.wait_until(lambda: sum(w["in_flight"] for w in cluster.workers().values()) == 1)
        assert cluster.musterctl("reload").returncode == 0
        harness.wait_until(lambda: any(w["draining"] for w in cluster.workers().values()))
        draining = [d["pid"] for w in cluster.workers().values() for d in w["draining"]]
        cluster.kill_master()
        cluster.spawn()
        cluster.wait_managed()
        assert [d["pid"] for w in cluster.workers().values() for d in w["draining"]] == draining
        assert draining[0] in old
        client.sendall(b"cd")
        assert client.recv(4096).startswith(b"HTTP/1.1 ")
    cluster.wait_ready()


def test_another_configuration_is_rolled_out(make_cluster):
    """What changed while there was no master is what a reload would do."""
    cluster = make_cluster()
    pids = cluster.worker_pids()
    cluster.kill_master()
    cluster.write_config(**{"http": {"server_header": "changed"}})
    cluster.spawn()
    harness.wait_until(lambda: cluster.is_ready() and not set(pids) & set(cluster.worker_pids()),
                       20, "all workers are new")
    assert cluster.get("/hello").headers["server"] == "changed"


def test_more_slots_after_the_roll_call(make_cluster):
    cluster = make_cluster(workers=2, max_workers=2)
    cluster.kill_master()
    cluster.write_config(max_workers=5)
    succeed(cluster)
    cluster.wait_log("reload finished")  # the workers get the new configuration, too
    assert cluster.musterctl("scale", "5").returncode == 0

    def everybody_serves():
        for _ in range(20):
            assert cluster.get("/hello").status == 200
        return all(w["requests"] > 0 for w in cluster.workers().values())
    harness.wait_until(everybody_serves, 15)


def test_a_number_set_by_hand_stays(make_cluster):
    cluster = make_cluster(workers=2, max_workers=4)
    assert cluster.musterctl("scale", "3", "--reason", "sale").returncode == 0
    pids = cluster.worker_pids()
    cluster.kill_master()
    succeed(cluster)
    status = cluster.status()
    assert status["worker_counts"]["desired"] == 3 and status["manual"]["reason"] == "sale"
    assert cluster.worker_pids() == pids
    assert cluster.musterctl("scale", "auto").returncode == 0
    assert cluster.status()["worker_counts"]["desired"] == 2


def test_killed_while_it_starts_its_workers(make_cluster):
    """Workers that had not become ready are no use to the next master and do not linger."""
    cluster = make_cluster(start=False, workers=4)
    for round_number in range(1, 9):
        cluster.spawn()
        cluster.wait_log("started version", count=round_number)
        time.sleep(round_number / 1000)
        cluster.kill_master()
        if round_number % 2 == 0:
            for pid in cluster.processes():
                harness.kill(pid)  # so that the next one starts them anew
    succeed(cluster)
    assert len(cluster.processes()) == 5, cluster.processes()
    for _ in range(20):
        assert cluster.get("/hello").status == 200


def test_two_new_masters_and_one_is_in_charge(make_cluster):
    cluster = make_cluster()
    pids = cluster.worker_pids()
    cluster.kill_master()
    results = []
    rivals = [threading.Thread(target=lambda: results.append(cluster.run(timeout=30)))
              for _ in range(2)]
    cluster.spawn()
    cluster.wait_ready()
    for rival in rivals:
        rival.start()
    for rival in rivals:
        rival.join()
    assert all(result.returncode == 1 and "another musterd runs" in result.stderr
               for result in results)
    assert cluster.worker_pids() == pids


def test_a_living_master_whose_lock_was_removed(make_cluster):
    """As a cleaner of /tmp does. Its workers are not adopted, let alone killed."""
    cluster = make_cluster(hang_timeout="3s")
    pids = cluster.worker_pids()
    for name in ("musterd.lock", "musterd.pid"):
        (cluster.run_dir / name).unlink()
    result = cluster.run()
    assert result.returncode == 1 and "another musterd answers at" in result.stderr
    assert cluster.worker_pids() == pids
    cluster.kill_worker(0)  # the control socket is still there
    cluster.wait_replaced(0, pids[0])


def test_files_that_were_removed_are_there_again(make_cluster):
    cluster = make_cluster()
    for name in ("control.sock", "cluster.state"):
        (cluster.run_dir / name).unlink()
    pid = cluster.kill_worker(0)
    cluster.wait_replaced(0, pid)
    cluster.wait_ready()
    harness.wait_until((cluster.run_dir / "cluster.state").exists)
    cluster.wait_log("somebody removed the control socket, it is there again")
    pids = cluster.worker_pids()
    cluster.kill_master()
    succeed(cluster)
    assert cluster.worker_pids() == pids


def test_a_start_that_fails_leaves_unix_sockets_alone(make_cluster):
    cluster = make_cluster(start=False)
    path = cluster.dir / "public.sock"
    cluster.config[("listen", "local")] = {"path": path}
    cluster.allowed += ["cannot start"]
    cluster.start()
    pids = cluster.worker_pids()
    cluster.kill_master()
    with socket.socket() as rival:
        rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        rival.bind(("127.0.0.1", cluster.management_port))
        rival.listen()
        cluster.spawn()
        assert cluster.wait_exit() == 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(path))
    succeed(cluster)
    assert cluster.worker_pids() == pids
    assert cluster.stop() == 0
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts /proc")
def test_workers_that_proc_does_not_show(make_cluster):
    """hidepid=2, and they hide from their own user, too: known by pidfd, or by what they say."""
    cluster = make_cluster(start=False, workers=3)
    libc = ctypes.CDLL(None, use_errno=True)

    def hide():
        assert libc.unshare(CLONE_NEWNS) == 0
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "-t", "proc", "-o", "hidepid=2", "proc", "/proc"], check=True)
    cluster.preexec = hide
    cluster.become_ordinary_user()
    cluster.start()
    pids = cluster.worker_pids()
    for _ in range(2):
        before = counters(cluster)
        cluster.kill_master()
        succeed(cluster)
        assert cluster.worker_pids() == pids
        assert_not_fallen(before, counters(cluster))
    cluster.kill_master()
    gone = harness.kill(pids[0])
    assert gone
    succeed(cluster)
    assert cluster.worker_pids()[1:] == pids[1:]
    assert cluster.workers()[0]["pid"] != pids[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_full_disk(make_cluster):
    """Nobody who could be written down is forgotten, and nothing good is replaced by what is not whole."""
    cluster = make_cluster(start=False, user="root")
    cluster.run_dir.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k,mode=700", "none", cluster.run_dir],
                   check=True)
    try:
        cluster.start()
        filler = cluster.run_dir / "filler"
        with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        before = cluster.worker_pids()
        assert cluster.musterctl("reload").returncode == 0
        cluster.wait_ready()
        pids = cluster.worker_pids()
        assert not set(pids) & set(before)
        cluster.wait_log("cannot write down the state")
        for _ in range(2):
            cluster.kill_master()
            succeed(cluster)
            assert cluster.worker_pids() == pids
        state = cluster.run_dir / "cluster.state"
        before = state.stat().st_ino
        filler.unlink()
        harness.wait_until(lambda: state.stat().st_ino != before, 10, "it is written down again")
        cluster.kill_worker(1)
        cluster.wait_replaced(1, pids[1])
        cluster.wait_ready()
        pids = cluster.worker_pids()
        cluster.kill_master()
        succeed(cluster)
        assert cluster.worker_pids() == pids
        assert cluster.stop() == 0
    finally:
        if cluster.process.poll() is None:
            cluster.stop()
        subprocess.run(["umount", "-l", cluster.run_dir], check=True)


def test_a_damaged_state_file_is_said_and_nobody_is_lost(make_cluster):
    """The port is held by workers that are not known: refused by name, until they have left."""
    cluster = make_cluster(orphan_timeout="2s")
    cluster.allowed += ["cannot start", "cannot be used"]
    cluster.kill_master()
    (cluster.run_dir / "cluster.state").write_bytes(b"x" * 100)
    result = cluster.run()
    assert result.returncode == 1
    assert "it is damaged" in result.stderr and "leaves after orphan_timeout" in result.stderr
    assert cluster.get("/hello").status == 200
    harness.wait_until(lambda: not cluster.processes(), 15, "the orphans have left")
    cluster.spawn()
    cluster.wait_ready()


def test_ipv6_and_unix_sockets_are_taken_over(make_cluster):
    cluster = make_cluster(start=False)
    path = cluster.dir / "public.sock"
    cluster.config[("listen", "six")] = {"address": "::1", "port": cluster.port}
    cluster.config[("listen", "local")] = {"path": path}
    cluster.start()
    for _ in range(2):
        pids = cluster.worker_pids()
        cluster.kill_master()
        succeed(cluster)
        assert cluster.worker_pids() == pids
        listeners = {l["name"]: l for l in cluster.status()["listeners"]}
        assert set(listeners) == {"default", "six", "local"}
        assert listeners["six"]["kind"] == "per-slot" and listeners["local"]["kind"] == "shared"
    for family, address in ((socket.AF_INET6, ("::1", cluster.port)), (socket.AF_UNIX, str(path))):
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(10)
            client.connect(address)
            client.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
    assert cluster.stop() == 0
    assert not path.exists()


def test_an_address_that_is_not_configured_any_more_stays_open(make_cluster):
    cluster = make_cluster(start=False)
    second = harness.free_port()
    cluster.config[("listen", "second")] = {"address": "127.0.0.1", "port": second}
    cluster.start()
    cluster.kill_master()
    del cluster.config[("listen", "second")]
    succeed(cluster)
    cluster.wait_log("is not configured any more stays open")
    with harness.Connection(("127.0.0.1", second)) as client:
        assert client.request("GET", "/hello").status == 200


def test_killed_in_the_middle_of_a_stop(make_cluster):
    """The next master opens the doors again."""
    cluster = make_cluster(drain_delay="0s")
    with cluster.connect() as busy:
        busy.send(b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        harness.wait_until(lambda: sum(w["in_flight"] for w in cluster.workers().values()) == 1)
        cluster.send_signal(signal.SIGTERM)
        cluster.wait_log("no new connections from now on")
        cluster.kill_master()
        cluster.spawn()
        cluster.wait_managed()
        for _ in range(10):
            assert cluster.get("/hello").status == 200
        busy.send(b"cd")
        assert busy.read_response().status == 405


def test_told_to_stop_during_the_roll_call(make_cluster):
    """It drains the workers that it adopts, and leaves none behind."""
    cluster = make_cluster(workers=3)
    for wait_ms in (30, 80):
        cluster.kill_master()
        cluster.spawn()
        time.sleep(wait_ms / 1000)
        assert cluster.stop() == 0
        assert not cluster.processes()
        succeed(cluster)
