"""`dynallow confirm`: what is on trial stays; with `--back` what was before comes back now."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import cast

from dynallow.cli.connect import client, socket_argument
from dynallow.cli.output import Block, Line, print_json, show
from dynallow.control.schema import ConfirmReport

_TIMEOUT_S = 60.0


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "--back", action="store_true", help="do not wait for the end: take back now what is on trial"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    socket_argument(parser)


def execute(args: Namespace) -> int:
    """End it; print what is in force. Exit 1 when nothing is on trial."""
    outcome = "taken-back" if args.back else "confirmed"
    report = cast(ConfirmReport, client(args, _TIMEOUT_S).post("/v1/confirm", outcome=outcome))
    if args.json:
        print_json(report)
    else:
        show(confirm_blocks(report))
    return 0


def confirm_blocks(report: ConfirmReport) -> list[Block]:
    """What is in force, and for how long."""
    kept = report["outcome"] == "confirmed"
    head = "confirmed" if kept else "taken back"
    if report["what"] == "reload":
        text = "the settings that were reloaded" if kept else "the settings from before the reload"
        blocks: list[Block] = [Line(f"{head}: {text} are in force, mode {report['mode']}", "good")]
        if not kept:
            text = "the files say otherwise still; `dynallow reload` brings what they say into force"
            blocks.append(Line(text, "warn"))
        return blocks
    blocks = [Line(f"{head}: mode {report['mode']}", "good")]
    if report["mode"] != report["settings_say"]:
        blocks.append(
            Line(
                f"until the next start or reload: the settings say {report['settings_say']}; "
                f'to keep it, write mode = "{report["mode"]}" into {report["settings"]}',
                "warn",
            )
        )
    return blocks
