"""`dynallow reload`: have the agent read its settings again, all or nothing.

On any fault the old policy stays; every fault is printed, exit 3.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import cast

from dynallow.cli.connect import client, socket_argument
from dynallow.cli.output import Block, Line, print_json, show
from dynallow.cli.phrases import listed
from dynallow.cli.trial import on_trial, within_argument
from dynallow.control.schema import ReloadReport

_TIMEOUT_S = 300.0  # a list of a million names takes its time


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    within_argument(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    socket_argument(parser)


def execute(args: Namespace) -> int:
    """Reload; print what changed."""
    report = cast(
        ReloadReport, client(args, _TIMEOUT_S).post("/v1/reload", confirm_within=args.confirm_within)
    )
    if args.json:
        print_json(report)
    else:
        show(reload_blocks(report))
    return 0


def reload_blocks(report: ReloadReport) -> list[Block]:
    """What changed, and what did not come into force by it."""
    changes = (
        ("rules added", report["rules_added"]),
        ("rules removed", report["rules_removed"]),
        ("rules changed", report["rules_changed"]),
        ("settings changed", report["settings_changed"]),
    )
    blocks: list[Block] = [Line("reloaded" if report["changed"] else "reloaded: nothing changed", "good")]
    blocks += [Line(f"{what}: {listed(names)}") for what, names in changes if names]
    if report["needs_restart"]:
        blocks.append(Line(f"in force only after a restart: {listed(report['needs_restart'])}", "warn"))
    blocks += [Line(text, "warn") for text in report["not_in_force"]]
    return blocks + on_trial(report["pending"])
