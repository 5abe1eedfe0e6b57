"""`--since 1h`: how far a verb looks back, and how moments are told there."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from datetime import datetime

from dynallow.durations import parse_duration

_DAY_S = 86400.0


def since_argument(parser: ArgumentParser, default: str | None = "1h") -> None:
    """Add `--since`, whole seconds."""
    so = f" (default: {default})" if default else ""
    parser.add_argument(
        "--since", type=_seconds, default=default, metavar="1h", help=f"how far to look back: 10m, 1h, 7d{so}"
    )


def _seconds(text: str) -> int:
    try:
        return max(int(parse_duration(text)), 1)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def clock_text(moment: str, window_s: float) -> str:
    """Local time; with the day where the window is longer than one."""
    then = datetime.fromisoformat(moment).astimezone()
    return f"{then:%m-%d %H:%M}" if window_s > _DAY_S else f"{then:%H:%M:%S}"
