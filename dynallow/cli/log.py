"""`dynallow log`: decisions, one line each; with `-f` as they happen.

Asks the agent, which keeps the last lines over restarts. Lines that come too fast are counted, not told.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from typing import cast

from dynallow.cli.connect import client, socket_argument
from dynallow.cli.output import Block, Style, print_json, show
from dynallow.cli.output import Line as Shown
from dynallow.cli.phrases import user_name
from dynallow.cli.windows import clock_text, since_argument
from dynallow.control.historyschema import LogLine, LogReport
from dynallow.usage.lines import Line, text
from dynallow.usage.record import Why

_STYLES: dict[str, Style] = {"denied": "bad", "filtered": "warn", "allowed": "good"}
_HOUR_S = 3600


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what happens")
    since_argument(parser, None)
    parser.add_argument("--json", action="store_true", help="as JSON; with -f an object a line")
    socket_argument(parser)


def execute(args: Namespace) -> int:
    """Print them."""
    since = None if args.since is None else str(args.since)
    if args.follow:
        for told in client(args).follow("/v1/log", follow="1", since=since):
            if args.json:
                sys.stdout.write(json.dumps(told) + "\n")
            else:
                show(log_blocks([cast(LogLine, told)], args.since or _HOUR_S))
            sys.stdout.flush()
        return 0
    report = cast(LogReport, client(args).get("/v1/log", since=since or str(_HOUR_S)))
    if args.json:
        print_json(report)
    else:
        show(log_blocks(report["lines"], args.since or _HOUR_S))
    return 0


def log_blocks(lines: Iterable[LogLine], window_s: float) -> list[Block]:
    """A line each, with its time."""
    return [Shown(f"{clock_text(line['at'], window_s)} {line_text(line)}", _style(line)) for line in lines]


def line_text(line: LogLine) -> str:
    """In words, with the user's name."""
    if line["event"] == "lost":
        return f"lost {line['note']}"
    told = Line(
        0.0,
        line["event"],
        line["decision"],
        line["mode"],
        cast(Why, line["why"]),
        line["name"],
        line["qtype"],
        tuple(line["addresses"]),
        line["port"],
        line["rule"],
        line["user"],
        line["process"],
        line["unit"],
        line["count"],
        line["lease_s"],
        line["id"],
        line["note"],
    )
    return text(told, user_name)


def _style(line: LogLine) -> Style:
    if line["event"] in ("mode", "reload", "start", "revoked"):
        return "bold"
    if line["event"] in ("left-out", "lost"):
        return "dim"
    denied = line["decision"] in ("denied", "filtered")
    return "warn" if denied and line["mode"] == "observe" else _STYLES.get(line["decision"], "")
