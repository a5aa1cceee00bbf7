# SPDX-License-Identifier: BSD-2-Clause
"""Prints "passed failed skipped" for a JUnit file, as ctest and pytest write it."""
import sys
import xml.etree.ElementTree as ElementTree

passed = failed = skipped = 0
for case in ElementTree.parse(sys.argv[1]).iter("testcase"):
    # ctest says "notrun" of a test whose program could not be started.
    if (case.find("failure") is not None or case.find("error") is not None
            or case.get("status") in ("fail", "notrun")):
        failed += 1
    elif case.find("skipped") is not None:
        skipped += 1
    else:
        passed += 1
print(passed, failed, skipped)
