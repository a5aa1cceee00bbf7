# SPDX-License-Identifier: BSD-2-Clause
"""Running named checks one after the other, each from a clean state, and counting them."""
import sys
import time
import traceback

import unit

_checks = []


def check(name):
    """Registers a function as a check of this name."""
    def register(function):
        _checks.append((name, function))
        return function
    return register


def _run_one(function):
    """PASS, FAIL or SKIP, with what there is to say."""
    unit.clean()
    journal = unit.Journal()
    try:
        return "PASS", function(journal) or ""
    except unit.Skip as reason:
        return "SKIP", str(reason)
    except Exception:  # pylint: disable=broad-except; whatever it is, the next check can run
        return "FAIL", traceback.format_exc() + "--- journal\n" + "\n".join(journal.lines()[-60:])


def run_all(words):
    """Runs the checks whose name has one of the words, all without words. The exit status."""
    count = {"PASS": 0, "FAIL": 0, "SKIP": 0}
    for name, function in _checks:
        if words and not any(word in name for word in words):
            continue
        started = time.monotonic()
        result, text = _run_one(function)
        count[result] += 1
        first, *rest = (text or "").splitlines() or [""]
        detail = f": {first}" if first and result != "FAIL" else ""
        print(f"{result}  {name} ({time.monotonic() - started:.1f} s){detail}", flush=True)
        for line in ([first] if result == "FAIL" else []) + rest:
            print("      " + line, flush=True)
    unit.clean()
    if not sum(count.values()):
        print("FAIL  no check has such a name")
        count["FAIL"] = 1
    print(f"{count['PASS']} passed, {count['FAIL']} failed, {count['SKIP']} skipped", flush=True)
    return 1 if count["FAIL"] else 0


def main(words):
    sys.exit(run_all(words))
