# SPDX-License-Identifier: BSD-2-Clause
"""Two network namespaces with a slow wire between them: a server in one, its clients in the other.

Nothing has to be cleaned up: the namespaces end with tests/tools/wire.c, which ends with us."""
import json
import subprocess

import harness

ROUND_TRIP_MS = 20


class Unavailable(Exception):
    """Namespaces or TUN devices are not to be had here; says why."""


class Wire:
    """`server` and `client` are what a command begins with to run there, `address` is where the
    server listens, `source` the first of 200 addresses that the client may connect from."""

    def __init__(self, round_trip_ms=ROUND_TRIP_MS):
        self.process = subprocess.Popen(
            [str(harness.TOOLS_DIR / "wire"), str(round_trip_ms / 2)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            _, error = self.process.communicate()
            raise Unavailable(error.strip() or f"wire exited with {self.process.returncode}")
        where = json.loads(line)
        self.server = ["nsenter", "--net=" + where["server"]]
        self.client = ["nsenter", "--net=" + where["client"]]
        self.address, self.source = where["address"], where["source"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Takes it down; how many packets it lost because it was overrun."""
        if self.process.poll() is not None:
            return 0
        output, _ = self.process.communicate(timeout=10 * harness.PATIENCE)
        return json.loads(output)["dropped"]
