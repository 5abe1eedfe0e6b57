"""What a verb says of a change that is on trial, and how it is asked for."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError

from dynallow.cli.output import Block, Line
from dynallow.cli.phrases import clock_text
from dynallow.control.schema import PendingReport
from dynallow.durations import format_duration
from dynallow.pending.state import parse_within


def within_argument(parser: ArgumentParser) -> None:
    """Add `--confirm-within TIME`."""
    parser.add_argument(
        "--confirm-within",
        metavar="TIME",
        type=_within,
        help="back by itself after this time (10s to 7d), also over a restart, unless `dynallow confirm`",
    )


def _within(text: str) -> str:
    try:
        parse_within(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error
    return text


def on_trial(report: PendingReport | None) -> list[Block]:
    """Until when, and what to do; nothing when nothing is."""
    if report is None:
        return []
    back = f"mode {report['from']}" if report["what"] == "mode" else "the settings before"
    return [
        Line(
            f"on trial until {clock_text(report['until'])} (for {format_duration(report['left_s'] + 0.5)}): "
            f"back to {back} then, unless you give `dynallow confirm`",
            "warn",
        )
    ]
