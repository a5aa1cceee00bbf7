# SPDX-License-Identifier: BSD-2-Clause
"""Everything that can happen to a server while 2,000 new connections a second and 64 busy
keep-alive connections are on it: how many requests failed, and how long a new connection waited.
nginx, nginx with `reuseport` and HAProxy have the same done to them, by the same client at the same
rates, each in the way that its documentation gives."""
import argparse
import collections
import contextlib
import dataclasses
import json
import sys

import bench_common as bench
import churn
import harness
import peers
import wire

SUBJECTS = {"muster": churn.Muster, "nginx": peers.Nginx, "nginx-reuseport": peers.NginxReuseport,
            "haproxy": peers.Haproxy}
SHORT = {"connect_refused": "refused", "connect_timeout": "SYN unanswered",
         "connect_reset": "reset while connecting", "connect_other": "connect failed",
         "first_request_reset": "reset before an answer", "first_request_eof": "closed before an answer",
         "failed_in_flight_reset": "reset on a reused connection",
         "failed_in_flight_eof": "closed on a reused connection",
         "short_answer_eof": "cut answer", "short_answer_reset": "cut answer",
         "answer_timeout": "no answer in 10 s"}


@dataclasses.dataclass
class Row:
    """One line of the table. `rounds` and `quick` count events; see the functions of churn.py."""
    name: str
    title: str
    event: object
    rounds: int
    quick: int
    near: bool = True  # on loopback; False: 20 ms away
    muster: dict = dataclasses.field(default_factory=dict)  # configuration
    subjects: tuple = tuple(SUBJECTS)


TEST_WORKER = {"worker_path": str(harness.TEST_WORKER)}
# What the kernel does by itself: nobody is steered away from who is slow.
EVEN = {"balance": {"algorithm": "round-robin"}, "stall_timeout": "30s", "suspect_timeout": "30s"}
ROWS = [
    Row("scale", "{} scale-downs and scale-ups", churn.scaling, 300, 10),
    Row("scale-20ms", "{} scale-downs and scale-ups, 20 ms away", churn.scaling, 100, 5, False),
    Row("reload", "{} reloads", churn.reloads, 100, 5),
    Row("reload-20ms", "{} reloads, 20 ms away", churn.reloads, 50, 3, False),
    Row("broken", "{} reloads of a broken configuration", churn.reloads_broken, 20, 3),
    Row("crashing", "{} reloads with a canary that crashes", churn.reloads_crashing, 10, 2),
    Row("upgrade", "{} upgrades, the binary replaced on disk", churn.upgrades, 20, 2),
    Row("master", "{} x kill -9 of the master, a new one started", churn.master_kills, 50, 3),
    Row("worker", "{} x kill -9 of a worker", churn.worker_kills, 200, 10),
    Row("worker-20ms", "{} x kill -9 of a worker, 20 ms away", churn.worker_kills, 50, 5, False),
    Row("stop", "{} x a worker stopped with SIGSTOP for 5 s", churn.worker_stops, 5, 1),
    Row("sigterm", "{} graceful stops and starts", churn.restarts, 50, 3),
    Row("sigterm-20ms", "{} graceful stops and starts, 20 ms away", churn.restarts, 20, 2, False),
    Row("slow-even", "one of four workers is slow, even spread, {} s", churn.slow_worker, 20, 5,
        muster={**TEST_WORKER, **EVEN}, subjects=("muster",)),
    Row("slow-least", "one of four workers is slow, least-connections, {} s", churn.slow_worker, 20,
        5, muster=TEST_WORKER, subjects=("muster",)),
    Row("spread", "{} long-lived connections, workers come and go", churn.long_lived, 10000, 2000,
        subjects=("muster", "nginx", "nginx-reuseport")),
]


def run_one(row, subject, rounds):
    """The Result, or None when the subject has no such operation or the machine no namespaces."""
    with contextlib.ExitStack() as stack:
        line = None if row.near else stack.enter_context(wire.Wire())
        config = row.muster if subject == "muster" else {}
        one = stack.enter_context(SUBJECTS[subject](line, **config))
        result = row.event(one, rounds)
    result.extra = {key: value for key, value in result.extra.items() if value}
    return result


def how(result):
    """What failed, in words."""
    kinds = collections.Counter()
    for (_, what), count in result.kinds().items():
        kinds[SHORT.get(what, what)] += count
    return ", ".join(f"{count:,} {what}" for what, count in kinds.most_common()) or "-"


def remarks(result):
    notes = collections.Counter(note.split(": ", 1)[-1] for note in result.notes)
    found = [f"{count} x {note}" for note, count in notes.most_common(3)]
    if result.overrun:
        found.append(f"{result.overrun:,} could not be started")
    extra = result.extra
    if "p99" in extra:
        found.append(f"p50 {extra['p50']:.1f}, p99 {extra['p99']:.1f} ms")
    if "from even" in extra:
        found.append(f"{100 * extra['from even']:.0f} % from even: {extra['held']}")
    if result.excused:
        found.append(f"{len(result.excused):,} excused")
    return "; ".join(found)


def line_of(subject, result):
    if result is None:
        return [subject, "–", "–", "–", "–", "–"]
    return [subject, f"{result.requests:,}", f"{result.failed:,}",
            f"{result.longest_new_ms:.0f} ({result.stall_ms:.0f})", how(result), remarks(result)]


def brief(result):
    """For --json: everything but long lists."""
    if result is None:
        return None
    data = dataclasses.asdict(result)
    data.update(kinds={f"{kind} {what}": count for (kind, what), count in result.kinds().items()},
                failures=result.failures[:20], excused=len(result.excused),
                slow=sorted(result.slow, key=lambda slow: -slow["took_ms"])[:20],
                slow_count=len(result.slow))
    return data


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=[row.name for row in ROWS],
                        help="this row; may be given again")
    parser.add_argument("--subject", action="append", choices=list(SUBJECTS),
                        help="this server; may be given again")
    parser.add_argument("--rounds", type=int, help="events in each row")
    parser.add_argument("--quick", action="store_true", help="few events: minutes, not an hour")
    parser.add_argument("--json", help="write everything to this file, too")
    parser.add_argument("--show", type=int, default=0, metavar="N",
                        help="print the first N failures of each line")
    return parser.parse_args()


def main():
    options = parse()
    print(bench.machine_line())
    print(f"{churn.NEW_RATE:,} new connections/s (open loop), {churn.KEEPALIVE} keep-alive "
          f"connections with {churn.KEEPALIVE_RATE:,} requests/s")
    results, failed = [], 0
    for row in ROWS:
        if options.only and row.name not in options.only:
            continue
        rounds = options.rounds or (row.quick if options.quick else row.rounds)
        lines, detail = [], []
        for subject in SUBJECTS:
            if options.subject and subject not in options.subject:
                continue
            result = None
            if subject in row.subjects:
                try:
                    result = run_one(row, subject, rounds)
                except churn.Unsupported:
                    pass
                except AssertionError as error:
                    result = churn.Result(subject, failed=1, notes=[f"given up: {error}"])
                except wire.Unavailable as error:
                    detail.append(f"    not measured: {error}")
            lines.append(line_of(subject, result))
            results.append({"row": row.name, "rounds": rounds, "subject": subject,
                            "result": brief(result)})
            if result is not None:
                detail += [f"    {subject}: {failure}" for failure in
                           result.failures[:options.show]]
                failed += result.failed if subject == "muster" else 0
        bench.table(f"{row.name}: {row.title.format(f'{rounds:,}')}",
                    ["", "requests", "failed", "longest wait, ms (client's part)", "how", ""], lines)
        for text in detail:
            print(text)
        if options.json:
            with open(options.json, "w", encoding="utf-8") as out:
                json.dump({"machine": bench.machine_line(), "rows": results}, out, indent=1)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
