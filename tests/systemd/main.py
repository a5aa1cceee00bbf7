# SPDX-License-Identifier: BSD-2-Clause
"""Checks of Muster under systemd. scripts/test-systemd runs this inside the container it boots."""
import importlib
import sys

import checks

for name in ("life", "stop", "master", "socket"):
    importlib.import_module("checks_" + name)

checks.main(sys.argv[1:])
