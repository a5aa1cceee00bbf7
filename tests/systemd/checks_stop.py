# SPDX-License-Identifier: BSD-2-Clause
"""The end of the service: drained, in time, and nothing left behind."""
import socket
import threading
import time

import client
import unit
from checks import check


def nothing_left():
    unit.wait_until(lambda: not unit.processes(), "no process is left in the cgroup", 3)
    assert client.refused(), "the port is still open"
    assert client.refused(("::1", unit.PORT)), "the IPv6 port is still open"


@check("stop: ends in time, the port is closed, nothing is left in the cgroup")
def stop(journal):
    unit.start()
    started = time.monotonic()
    unit.systemctl("stop", unit.SERVICE)
    took = time.monotonic() - started
    assert unit.is_state("inactive", "dead"), unit.show("SubState")
    assert unit.show("Result") == "success", unit.show("Result")
    nothing_left()
    journal.wait("stopped", "cut_connections=0")
    return f"{took:.1f} s"


@check("stop: a request in flight is finished")
def stop_in_flight(_):
    unit.start()
    head, rest = client.REQUEST[:-2], client.REQUEST[-2:]
    with socket.create_connection(client.ADDRESS, timeout=10) as connection:
        connection.sendall(head)
        unit.wait_until(lambda: unit.status()["now"]["in_flight"] or unit.status()["now"]["connections"],
                        "the request has begun")
        stopping = threading.Thread(target=unit.systemctl, args=("stop", unit.SERVICE))
        stopping.start()
        unit.wait_until(client.refused, "no new connections")
        assert unit.is_state("deactivating"), unit.show("ActiveState")
        assert "rain" in unit.show("StatusText"), unit.show("StatusText")
        connection.sendall(rest)
        answer = client.read_answer(connection)
        stopping.join()
    assert client.is_whole(answer), answer
    assert "connection: close" in answer.lower()
    assert unit.show("Result") == "success"
    nothing_left()


@check("stop: under load no request fails before the port is closed")
def stop_under_load(_):
    unit.start()
    with client.Load() as load:
        unit.systemctl("stop", unit.SERVICE)
    refused = [failure for failure in load.failures if "Refused" in failure]
    others = [failure for failure in load.failures if "Refused" not in failure]
    assert not others, others[:5]
    return f"{load.answered} answered, then {len(refused)} refused"


def hung_master(timeout_s):
    master = unit.start()
    unit.override(f"[Service]\nTimeoutStopSec={timeout_s}s\n")
    unit.hold(master)
    return master


@check("stop: a master that hangs is killed after the time-out, and the workers with it")
def stop_hung(_):
    hung_master(1)
    started = time.monotonic()
    unit.systemctl("stop", unit.SERVICE)
    took = time.monotonic() - started
    assert unit.show("Result") == "timeout", unit.show("Result")
    nothing_left()
    unit.configure()
    unit.systemctl("start", unit.SERVICE)
    return f"{took:.1f} s with TimeoutStopSec=1s"


@check("stop: restart with a master that hangs starts new workers")
def restart_hung(_):
    master = hung_master(1)
    before = unit.workers()
    unit.systemctl("restart", unit.SERVICE)
    assert unit.main_pid() != master
    assert not set(before) & set(unit.workers()), "old workers are left"
    assert client.is_whole(client.get())


@check("stop: a drain_timeout longer than TimeoutStopSec= is granted")
def stop_slowly(_):
    unit.override("[Service]\nTimeoutStopSec=1s\n")
    unit.start()
    with socket.create_connection(client.ADDRESS, timeout=10) as connection:
        connection.sendall(client.REQUEST[:-2])
        unit.wait_until(lambda: unit.status()["now"]["connections"], "the request has begun")
        stopping = threading.Thread(target=unit.systemctl, args=("stop", unit.SERVICE))
        stopping.start()
        time.sleep(2.5)
        connection.sendall(client.REQUEST[-2:])
        answer = client.read_answer(connection)
        stopping.join()
    assert client.is_whole(answer), answer
    assert unit.show("Result") == "success", unit.show("Result")
    nothing_left()


@check("stop: a second SIGTERM to all processes cuts what remains")
def stop_twice(_):
    unit.start(unit.CONFIG_TEXT.replace("drain_delay = 100ms", "drain_delay = 5s"))
    with socket.create_connection(client.ADDRESS, timeout=10) as connection:
        connection.sendall(client.REQUEST[:-2])
        stopping = threading.Thread(target=unit.systemctl, args=("stop", unit.SERVICE))
        stopping.start()
        unit.wait_until(lambda: unit.is_state("deactivating"), "the drain has begun")
        started = time.monotonic()
        time.sleep(0.1)  # a second signal at once is taken for the same one
        unit.systemctl("kill", unit.SERVICE)
        stopping.join()
    nothing_left()
    assert time.monotonic() - started < 5, "it did not cut"
