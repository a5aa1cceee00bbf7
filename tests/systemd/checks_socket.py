# SPDX-License-Identifier: BSD-2-Clause
"""Socket activation: systemd opens the port and keeps it."""
import time

import client
import unit
from checks import check


@check("socket: the first connection starts the service and is answered")
def activate(_):
    unit.systemctl("start", unit.SOCKET)
    assert unit.is_state("inactive"), "the service runs already"
    answer = client.get()
    assert client.is_whole(answer), answer
    unit.wait_running()
    inherited = [listener["inherited"] for listener in unit.status()["listeners"]]
    assert inherited == [True, True], inherited


@check("socket: both address families, every worker gets connections")
def families(_):
    unit.systemctl("start", unit.SOCKET)
    unit.systemctl("start", unit.SERVICE)
    for address in (client.ADDRESS, ("::1", unit.PORT)):
        for _ in range(20):
            assert client.is_whole(client.get(address=address))
    return ", ".join(sorted({f"{each['address']} {each['policy']}" for each in unit.status()["listeners"]}))


@check("socket: restart of the service refuses nobody")
def restart(_):
    unit.systemctl("start", unit.SOCKET)
    master = unit.start()
    with client.Load() as load:
        unit.systemctl("restart", unit.SERVICE)
        load.wait(100)
    load.check()
    assert unit.main_pid() != master
    return f"{load.answered} requests, none failed"


@check("socket: a connection while the service is stopped waits for the next start")
def stopped(_):
    unit.systemctl("start", unit.SOCKET)
    unit.start()
    unit.systemctl("stop", unit.SERVICE)
    assert not unit.processes()
    started = time.monotonic()
    answer = client.get()  # starts it again
    assert client.is_whole(answer), answer
    return f"answered after {1000 * (time.monotonic() - started):.0f} ms"


@check("socket: kill -9 of the master, the workers serve on and are adopted")
def kill_master(_):
    unit.systemctl("start", unit.SOCKET)
    master, workers = unit.start(), unit.workers()
    with client.Load() as load:
        unit.kill(master)
        unit.wait_running(after=master)
        load.wait(200)
    load.check()
    assert unit.workers() == workers, (workers, unit.workers())
    return f"{load.answered} requests, none failed"


@check("socket: stop of both closes the port")
def close(_):
    unit.systemctl("start", unit.SOCKET)
    unit.start()
    unit.systemctl("stop", unit.SOCKET, unit.SERVICE)
    assert client.refused()
