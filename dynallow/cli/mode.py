"""`dynallow mode observe|enforce`: switch, in one transaction of the kernel's."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import cast

from dynallow.cli.connect import client, socket_argument
from dynallow.cli.output import Line, print_json, show
from dynallow.cli.trial import on_trial, within_argument
from dynallow.control.schema import ModeReport

_TIMEOUT_S = 60.0


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "mode", choices=("observe", "enforce"), help="observe: log denials, block nothing; enforce: block"
    )
    within_argument(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    socket_argument(parser)


def execute(args: Namespace) -> int:
    """Switch; print what it was and what it is."""
    report = cast(
        ModeReport,
        client(args, _TIMEOUT_S).post("/v1/mode", mode=args.mode, confirm_within=args.confirm_within),
    )
    if args.json:
        print_json(report)
    else:
        show([Line(f"mode {report['was']} → {report['mode']}"), *on_trial(report["pending"])])
    return 0
