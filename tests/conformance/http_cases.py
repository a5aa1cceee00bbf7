# SPDX-License-Identifier: BSD-2-Clause
"""Reads http_cases.txt, where the format is described.

As a program it writes the cases as seeds for the fuzzers:
    http_cases.py DIRECTORY    (DIRECTORY/http_parser/NAME and DIRECTORY/http_chunked/NAME)
"""

import dataclasses
import pathlib
import re
import sys

TABLE = pathlib.Path(__file__).with_name("http_cases.txt")
ESCAPE = re.compile(r"\\(r|n|t|\\|x[0-9a-f]{2})|(\\)")
PLAIN = {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\"}


def unescape(text):
    def replace(match):
        if match[2]:
            raise ValueError(f"unknown escape in {text!r}")
        code = match[1]
        plain = PLAIN[code] if code in PLAIN else bytes([int(code[1:], 16)])
        return plain.decode("latin-1")

    return ESCAPE.sub(replace, text).encode("latin-1")


@dataclasses.dataclass
class Case:
    name: str
    clause: str = ""
    head: bytes = b""
    body: bytes = b""
    expect: str = ""  # ok, error or incomplete
    status: int = 0  # of an error
    values: dict = dataclasses.field(default_factory=dict)
    content: str = ""
    decoded: bytes = b""
    live_statuses: tuple = ()
    live_end: str = ""  # keep, close or either; empty: not to be sent

    def value(self, key, default):
        return self.values.get(key, default)

    def finish(self):
        """An error is answered with its status and ends the connection."""
        if not self.live_end and self.expect != "incomplete" and self.status:
            self.live_statuses, self.live_end = (self.status,), "close"
        elif not self.live_end:
            raise ValueError(f"{self.name}: no live line")
        if self.live_end == "none":
            self.live_end = ""


def add_line(case, keyword, text):
    if keyword in ("head", "body"):
        setattr(case, keyword, getattr(case, keyword) + unescape(text))
    elif keyword in ("head*", "body*"):
        count, text = text.split(" ", 1)
        name = keyword[:-1]
        setattr(case, name, getattr(case, name) + int(count) * unescape(text))
    elif keyword == "clause":
        case.clause = text
    elif keyword == "expect":
        case.expect, *rest = text.split()
        if case.expect == "error":
            case.status = int(rest[0])
        else:
            case.values = dict(pair.split("=", 1) for pair in rest)
    elif keyword == "content":
        case.content, _, rest = text.partition(" ")
        if case.content == "error":
            case.status = int(rest)
        else:
            case.decoded = unescape(rest)
    elif keyword == "live":
        statuses, _, case.live_end = text.partition(" ")
        if statuses == "none":
            case.live_end = "none"
        else:
            case.live_statuses = tuple(int(status) for status in statuses.split("|"))
    elif keyword != "field":
        raise ValueError(f"{case.name}: unknown keyword {keyword!r}")


def load(path=TABLE):
    cases = []
    for line in path.read_text(encoding="ascii").split("\n"):
        if not line or line.startswith("#"):
            continue
        keyword, _, text = line.partition(" ")
        if keyword == "case":
            cases.append(Case(text))
        else:
            add_line(cases[-1], keyword, text)
    for case in cases:
        case.finish()
    return cases


def main():
    root = pathlib.Path(sys.argv[1])
    for kind in ("http_parser", "http_chunked"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    for case in load():
        if len(case.head) < 1000 and not case.content:
            (root / "http_parser" / case.name).write_bytes(case.head)
        if len(case.body) < 40000 and case.content:
            (root / "http_chunked" / case.name).write_bytes(case.body)


if __name__ == "__main__":
    main()
