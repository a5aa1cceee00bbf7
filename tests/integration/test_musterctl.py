# SPDX-License-Identifier: BSD-2-Clause
"""musterctl as people and scripts use it: output, exit status, and servers that misbehave."""
import json
import os
import pty
import re
import socket
import subprocess
import threading

import pytest
from harness import MUSTERCTL, PATIENCE, ROOT, TOKEN, WORKER, free_port, wait_until

OK, FAILED, USAGE, UNREACHABLE = 0, 1, 2, 3
COLOUR = "\x1b["


def ctl(*args, env=None, timeout=30):
    environment = {"PATH": os.environ["PATH"], **(env or {})}
    return subprocess.run([str(MUSTERCTL), *map(str, args)], capture_output=True, text=True,
                          env=environment, timeout=timeout * PATIENCE, check=False)


# ---- what needs no cluster ----

def test_help_and_version():
    result = ctl("--help")
    assert result.returncode == OK and "Usage: musterctl" in result.stdout
    assert re.fullmatch(r"musterctl \d+\.\d+\.\d+\n", ctl("--version").stdout)


def test_the_manual_has_every_option_and_command():
    usage = ctl("--help").stdout
    manual = (ROOT / "scripts/man/musterctl.1").read_text().replace("\\-", "-")
    for word in re.findall(r"--[a-z-]+", usage) + re.findall(r"^  ([a-z]+) ", usage, re.MULTILINE):
        assert word in manual, f"{word} is not in musterctl.1"


@pytest.mark.parametrize("args, says", [
    ([], "Usage:"), (["dance"], 'no command "dance"'), (["scale"], "scale needs N|auto"),
    (["scale", "many"], '"many"'), (["scale", "-1"], ""), (["scale", "2.5"], '"2.5"'),
    (["scale", "auto", "--for", "5m"], "--for"), (["restart", "x"], '"x"'),
    (["restart"], "restart needs SLOT"), (["status", "now"], 'does not take "now"'),
    (["status", "--no-wait"], "changes nothing"), (["reload", "--for", "5m"], "--for goes with scale"),
    (["--timeout", "5", "status"], "has no unit"), (["--timeout", "0s", "status"], "no time at all"),
    (["--url", "https://x", "status"], "only http://"), (["--url", "http://", "status"], "not a URL"),
    (["--url", "http://x:99999999", "status"], "not a URL"), (["--bogus"], "--help"),
    (["--token-file", "/nonexistent", "status"], "No such file"), (["metrics", "--json"], "no JSON"),
    (["scale", "2", "--reason", b"\xff"], "UTF-8")])
def test_wrong_usage(args, says):
    result = subprocess.run([str(MUSTERCTL), *args], capture_output=True, check=False,
                            timeout=10 * PATIENCE)
    assert result.returncode == USAGE
    assert says in result.stderr.decode() and result.stdout == b""


def test_no_master(tmp_path):
    for args in (["--socket", tmp_path / "muster.sock"], ["--url", f"http://127.0.0.1:{free_port()}"],
                 ["--socket", "/" + "x" * 200]):
        for command in (["status"], ["scale", "2"], ["drain"]):
            result = ctl(*args, *command)
            assert result.returncode == UNREACHABLE
            assert "cannot connect to" in result.stderr and "Is musterd running" in result.stderr


def test_run_dir_of_the_environment(tmp_path):
    result = ctl("status", env={"MUSTER_RUN_DIR": str(tmp_path)})
    assert result.returncode == UNREACHABLE
    assert f"{tmp_path}/muster.sock" in result.stderr


# ---- reading ----

def test_status(shared_cluster):
    result = shared_cluster.musterctl("status")
    assert result.returncode == OK, result.stderr
    text = result.stdout
    assert COLOUR not in text
    assert re.search(r"^Muster +\d+\.\d+\.\d+, running, ok$", text, re.MULTILINE)
    assert "2 ready of 2 (configured 2, min 1, max" in text
    assert f"127.0.0.1:{shared_cluster.port} (default), least-connections" in text
    rows = [line.split() for line in text.splitlines() if re.match(r" *\d", line)]
    assert [row[:3] for row in rows] == [["0", "ready", str(shared_cluster.worker_pid(0))],
                                         ["1", "ready", str(shared_cluster.worker_pid(1))]]


def test_columns_are_aligned(shared_cluster):
    lines = shared_cluster.musterctl("workers").stdout.splitlines()
    assert lines[0].split()[:4] == ["SLOT", "STATE", "PID", "GEN"]
    for head in "SLOT", "PID", "GEN", "UPTIME", "RESTARTS", "CONN":
        end = lines[0].index(head) + len(head)
        assert all(line[end - 1].isalnum() and line[end] == " " for line in lines[1:])


def test_json_is_what_the_server_sends(shared_cluster):
    status = json.loads(shared_cluster.musterctl("status", "--json").stdout)
    assert set(status) == set(shared_cluster.status())
    workers = json.loads(shared_cluster.musterctl("workers", "-j").stdout)
    assert [worker["pid"] for worker in workers] == shared_cluster.worker_pids()
    assert json.loads(shared_cluster.musterctl("--json", "health").stdout)["healthy"] is True


def test_metrics(shared_cluster):
    result = shared_cluster.musterctl("metrics")
    assert result.returncode == OK
    assert 'muster_workers{state="ready"} 2' in result.stdout


def test_health(cluster):
    result = cluster.musterctl("health")
    assert (result.returncode, result.stdout) == (OK, "ok: 2 workers ready, 0 connections\n")


def test_health_of_a_cluster_that_ends(make_cluster):
    cluster = make_cluster(drain_delay="2s")
    assert cluster.musterctl("drain", "--no-wait").returncode == OK
    result = cluster.musterctl("health")
    assert result.returncode == FAILED and result.stdout.startswith("draining:")
    result = cluster.musterctl("--json", "health")
    assert result.returncode == FAILED and json.loads(result.stdout)["status"] == "draining"


def on_terminal(cluster, env):
    """What `musterctl status` writes to a terminal."""
    leader, follower = pty.openpty()
    try:
        subprocess.run([str(MUSTERCTL), "--socket", str(cluster.management_socket), "status"],
                       stdout=follower, env=env, timeout=10 * PATIENCE, check=True)
        return os.read(leader, 65536).decode()
    finally:
        os.close(leader)
        os.close(follower)


def test_colours_only_on_a_terminal_that_wants_them(shared_cluster):
    assert COLOUR in on_terminal(shared_cluster, {"TERM": "xterm"})
    assert COLOUR in on_terminal(shared_cluster, {"TERM": "xterm", "NO_COLOR": ""})
    assert COLOUR not in on_terminal(shared_cluster, {"TERM": "xterm", "NO_COLOR": "1"})
    assert COLOUR not in on_terminal(shared_cluster, {"TERM": "dumb"})
    assert COLOUR not in on_terminal(shared_cluster, {})


def test_over_tcp(shared_cluster):
    url = f"http://127.0.0.1:{shared_cluster.management_port}"
    assert ctl("--url", url, "status").returncode == OK
    assert ctl("--url", url + "/", "health").returncode == OK
    assert ctl("--url", f"http://localhost:{shared_cluster.management_port}", "health").returncode == OK


# ---- changing ----

def test_scale(cluster):
    result = cluster.musterctl("scale", "3", "--reason", "a sale", "--for", "30m")
    assert result.returncode == OK, result.stderr
    assert cluster.status()["worker_counts"]["ready"] == 3
    text = cluster.musterctl("status").stdout
    assert re.search(r"^manual +3 workers for another (30m0s|29m\d+s): a sale \(uid ", text, re.MULTILINE)
    result = cluster.musterctl("scale", "auto")
    assert result.returncode == OK, result.stderr
    assert cluster.status()["manual"] is None
    line = cluster.log_lines(r"change .*what=scale ")[0]
    assert f'who="uid {os.geteuid()} pid ' in line and 'reason="a sale"' in line


def test_what_the_server_refuses(cluster):
    result = cluster.musterctl("scale", "99")
    assert result.returncode == FAILED and result.stdout == ""
    assert "max_workers" in result.stderr
    result = cluster.musterctl("scale", "2", "--for", "soon")
    assert result.returncode == FAILED and '"soon"' in result.stderr
    result = cluster.musterctl("restart", "77", "--json")
    assert result.returncode == FAILED and "there are 0 to " in result.stderr
    assert json.loads(result.stdout)["error"]["status"] == 404


def test_restart_and_reload(cluster):
    before = cluster.worker_pids()
    result = cluster.musterctl("restart", "0")
    assert result.returncode == OK, result.stderr
    assert cluster.worker_pid(0) not in before and cluster.worker_pid(1) in before
    result = cluster.musterctl("reload", "--json")
    assert result.returncode == OK, result.stderr
    assert json.loads(result.stdout)["done"] is True
    assert not set(before) & set(cluster.worker_pids())
    cluster.config_path.write_text("no such thing\n")
    result = cluster.musterctl("reload")
    assert result.returncode == FAILED and f"{cluster.config_path}:1" in result.stderr


def test_drain_waits_for_the_end(cluster):
    result = cluster.musterctl("drain", "--reason", "kernel update")
    assert result.returncode == OK, result.stderr
    assert result.stdout.splitlines()[-1] == "drained"
    assert cluster.wait_exit(1) == 0
    assert cluster.log_lines(r"change .*what=drain .*kernel update")


def test_the_token_over_tcp(cluster):
    url = f"http://127.0.0.1:{cluster.management_port}"
    right, wrong = cluster.dir / "right", cluster.dir / "wrong"
    right.write_text(TOKEN + "\n")
    wrong.write_text("a-token-that-is-not-right\n")
    result = ctl("--url", url, "scale", "1")
    assert result.returncode == FAILED and "needs the token" in result.stderr
    result = ctl("--url", url, "--token-file", wrong, "scale", "1")
    assert result.returncode == FAILED and "token is wrong" in result.stderr
    assert ctl("--url", url, "--token-file", right, "scale", "1").returncode == OK
    assert ctl("--url", url, "scale", "auto", env={"MANAGEMENT_TOKEN": TOKEN}).returncode == OK


def test_waiting_can_be_limited(make_cluster):
    cluster = make_cluster(start=False)
    hold, starter = cluster.dir / "hold", cluster.dir / "starter"
    starter.write_text(f'#!/bin/sh\nwhile [ -e "{hold}" ]; do sleep 0.02; done\n'
                       f'exec "{WORKER}" "$@"\n')
    starter.chmod(0o755)
    cluster.write_config(worker_path=starter)
    cluster.start()
    hold.touch()
    result = cluster.musterctl("restart", "0", "--timeout", "300ms")
    assert result.returncode == FAILED and "no answer" in result.stderr
    assert "may go on" in result.stderr
    result = cluster.musterctl("restart", "0", "--no-wait")
    assert result.returncode == OK and "started" in result.stdout
    wait_until(lambda: cluster.workers()[0]["replacement"], 5, "a replacement is starting")
    assert re.search(r"^ +pid \d+ of generation \d+ is starting since ",
                     cluster.musterctl("workers").stdout, re.MULTILINE)
    hold.unlink()
    cluster.wait_log(r"change .*what=restart .*result=done", count=2)


# ---- servers that misbehave ----

@pytest.fixture
def fake_server(tmp_path):
    """fake_server(bytes): a socket that answers every request with these bytes and closes."""
    servers = []

    def start(answer, keep_open=False):
        path = tmp_path / f"fake-{len(servers)}.sock"
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen()
        servers.append(server)

        def serve():
            open_ones = []
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                client.settimeout(10)
                client.recv(65536)
                try:
                    client.sendall(answer)
                except OSError:
                    pass
                if keep_open:
                    open_ones.append(client)
                else:
                    client.close()
        threading.Thread(target=serve, daemon=True).start()
        return path
    yield start
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def http_answer(body, status="200 OK"):
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize("answer, says", [
    (b"", "no complete HTTP answer"), (b"\0" * 100, "no complete HTTP answer"),
    (b"HTTP/1.1 200 OK\r\n", "no complete HTTP answer"),
    (b"HTTP/1.1 2x0 OK\r\n\r\n{}", "no complete HTTP answer"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", "no complete HTTP answer"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{", "not JSON"),
    (http_answer(b'{"state": '), "not JSON"), (http_answer(b"hello"), "not JSON"),
    (http_answer(b"<html>", "502 Bad Gateway"), "status 502"),
    (http_answer(b'{"error": {"message": "too hot"}}', "500 Oops"), "too hot")])
def test_broken_answers(fake_server, answer, says):
    path = fake_server(answer)
    for command in ["status"], ["workers", "--json"]:
        result = ctl("--socket", path, *command)
        assert result.returncode == FAILED, result.stdout
        assert says in result.stderr and result.stdout == ""


def test_a_server_that_does_not_answer(fake_server):
    result = ctl("--socket", fake_server(b"HTTP/1.1 200 OK\r\n", keep_open=True), "status",
                 "--timeout", "200ms")
    assert result.returncode == FAILED and "no answer" in result.stderr


def test_documents_of_another_version(fake_server):
    """What is missing is shown as nothing; what a terminal would obey is not passed on."""
    result = ctl("--socket", fake_server(http_answer(b"{}")), "status")
    assert result.returncode == OK and "0 ready of 0" in result.stdout
    odd = {"version": "9\x1b[2J\x07", "state": ["?"], "worker_counts": 7, "manual": {"reason": 1},
           "workers": [{"slot": 0, "state": "evil\x1b[31m", "pid": 1, "draining": [{}, 3],
                        "last_exit": {"cause": "x\n\x1b[0m" + "y" * 500}}, 5, None]}
    result = ctl("--socket", fake_server(http_answer(json.dumps(odd).encode())), "status")
    assert result.returncode == OK, result.stderr
    assert "\x1b" not in result.stdout and "\x07" not in result.stdout
    assert "evil?[31m" in result.stdout
