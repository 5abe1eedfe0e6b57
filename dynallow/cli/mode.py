"""`dynallow mode observe|enforce`: switch, in one transaction of the kernel's.

Before `enforce`: who would be denied what. On a terminal that asks, where it is not ready; elsewhere it is
told, and the switch follows: a script that says `enforce` means it.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import cast

from dynallow.cli.connect import client, socket_argument
from dynallow.cli.output import Line, note, print_json, show
from dynallow.cli.readinessview import readiness_blocks
from dynallow.cli.trial import on_trial, within_argument
from dynallow.control.client import AnswerError, Client
from dynallow.control.readinessschema import ReadinessReport
from dynallow.control.schema import ModeReport
from dynallow.durations import parse_duration

_TIMEOUT_S = 60.0
_YES = ("y", "yes")


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "mode", choices=("observe", "enforce"), help="observe: log denials, block nothing; enforce: block"
    )
    within_argument(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask, ready or not")
    parser.add_argument(
        "--since", metavar="TIME", type=_seconds, default="7d", help="how far to look back (default: 7d)"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    socket_argument(parser)


def execute(args: Namespace) -> int:
    """Tell of readiness, switch; print what it was and what it is. Exit 1 when the answer is no."""
    agent = client(args, _TIMEOUT_S)
    found = _readiness(agent, args.since) if args.mode == "enforce" else None
    if found is not None and not args.json:
        show(readiness_blocks(found))
    if found is not None and found["verdict"] != "ready" and not (args.yes or _agrees()):
        note("nothing is switched")
        return 1
    report = cast(ModeReport, agent.post("/v1/mode", mode=args.mode, confirm_within=args.confirm_within))
    if args.json:
        print_json({**report, "readiness": found})
    else:
        show([Line(f"mode {report['was']} → {report['mode']}"), *on_trial(report["pending"])])
        if args.confirm_within and report["pending"] is None:
            show([Line(f"nothing is on trial: it was {report['was']} before, and stays so", "warn")])
    return 0


def _seconds(text: str) -> str:
    return str(int(parse_duration(text)))


def _readiness(agent: Client, since: str) -> ReadinessReport | None:
    """None where there is nothing to be ready for, or nobody can tell."""
    try:
        report = cast(ReadinessReport, agent.get("/v1/readiness", since=since))
    except AnswerError as error:
        note(f"readiness is not known: {error.message}")
        return None
    return report if report["mode"] == "observe" else None


def _agrees() -> bool:
    """Whether a person at a terminal says so; nobody there says yes."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    print("switch all the same? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in _YES
