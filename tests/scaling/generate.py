#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Makes the traces in this folder: generate.py writes them anew, generate.py --check compares.

A load is the number of workers it would keep busy. Each trace has a fixed seed, so the files are always the
same. The format is described in master/ctl/trace.h and in musterctl(1).
"""
import math
import pathlib
import random
import sys

HERE = pathlib.Path(__file__).resolve().parent
MINUTE, HOUR = 60, 3600


def jitter(source, load, part):
    """Load that arrives in pieces is never quite even."""
    return max(0.0, load * (1 + source.gauss(0, part)))


def step(source):
    """Ten quiet minutes, then all at once four times the load for half an hour, then quiet again."""
    for second in range(70 * MINUTE):
        yield jitter(source, 12 if 10 * MINUTE <= second < 40 * MINUTE else 3, 0.02)


def ramp(source):
    """From little to much in twenty minutes, stays, and back as slowly."""
    for second in range(80 * MINUTE):
        up = min(1, max(0, (second - 5 * MINUTE) / (20 * MINUTE)))
        down = min(1, max(0, (second - 40 * MINUTE) / (20 * MINUTE)))
        yield jitter(source, 2 + 14 * (up - down), 0.02)


def daily(source):
    """A day: a wave with its valley at four in the morning and its peak in the afternoon."""
    for minute in range(24 * 60):
        wave = 0.5 - 0.5 * math.cos(2 * math.pi * (minute / 60 - 4) / 24)
        for _ in range(6):
            yield jitter(source, 1.5 + 14 * wave ** 1.5, 0.04)


def flash(source):
    """A flash crowd: within fifteen seconds eight times the load, which then fades over ten minutes."""
    for second in range(60 * MINUTE):
        since = second - 15 * MINUTE
        crowd = 0
        if since >= 0:
            crowd = 18 * min(1, since / 15) * math.exp(-max(0, since - 60) / (5 * MINUTE))
        yield jitter(source, 2.5 + crowd, 0.03)


def sawtooth(source):
    """Load that grows for eight minutes and falls off at once, eight times: a job that starts on the clock."""
    for second in range(64 * MINUTE):
        yield jitter(source, 3 + 9 * (second % (8 * MINUTE)) / (8 * MINUTE), 0.02)


def noise(source):
    """Nothing changes but chance: around six, with bursts of some seconds."""
    level = 6.0
    for _ in range(60 * MINUTE):
        level += 0.08 * (6 - level) + source.gauss(0, 0.25)
        yield jitter(source, max(0.5, level), 0.08)


TRACES = {step: "1s", ramp: "1s", daily: "10s", flash: "1s", sawtooth: "1s", noise: "1s"}


def text_of(make, source=None):
    source = source or random.Random(make.__name__)
    lines = [f"# {make.__doc__}", "# Made by generate.py.", f"step {TRACES[make]}"]
    run, count = None, 0
    for load in [*make(source), None]:
        value = None if load is None else f"{load:.2f}"
        if value == run:
            count += 1
            continue
        if run is not None:
            lines.append(run if count == 1 else f"{run} x {count}")
        run, count = value, 1
    return "\n".join(lines) + "\n"


def main():
    wrong = []
    for make in TRACES:
        path = HERE / f"{make.__name__}.trace"
        if sys.argv[1:] != ["--check"]:
            path.write_text(text_of(make))
        elif not path.exists() or path.read_text() != text_of(make):
            wrong.append(path.name)
    if wrong:
        sys.exit(f"not what generate.py makes: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
