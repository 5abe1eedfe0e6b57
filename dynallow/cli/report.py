"""`dynallow report -o FILE`: what holds and what happened, as one HTML file to show to others.

Knows where the reports come from and how a file is written whole. How it looks is `page/`'s.
"""

from __future__ import annotations

import os
import platform
import tempfile
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import cast

from dynallow.cli.connect import client, socket_argument
from dynallow.cli.output import note
from dynallow.cli.phrases import user_name
from dynallow.control.client import AnswerError, Client
from dynallow.control.historyschema import HistoryReport, TimelineReport
from dynallow.control.readinessschema import ReadinessReport
from dynallow.control.schema import StatusReport
from dynallow.durations import parse_duration
from dynallow.errors import DynallowError

_TIMEOUT_S = 120.0


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, type=Path, help='where to; "-": stdout'
    )
    parser.add_argument(
        "--since", type=_window, default=7 * 86400.0, metavar="7d", help="how far back (default: 7d)"
    )
    socket_argument(parser)


def _window(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error
    if seconds < 1:
        raise ArgumentTypeError("expected a second or more")
    return seconds


def execute(args: Namespace) -> int:
    """Write it."""
    from dynallow.cli.page.page import Told, page, step_of

    agent = client(args, _TIMEOUT_S)
    since, step = str(int(args.since)), str(step_of(args.since))
    told = Told(
        host=platform.node() or "this host",
        made=datetime.now().astimezone(),
        status=cast(StatusReport, agent.get("/v1/status")),
        history=cast(HistoryReport, agent.get("/v1/history", since=since)),
        timeline=cast(TimelineReport, agent.get("/v1/timeline", since=since, step=step)),
        readiness=_readiness(agent, since),
        user=user_name,
    )
    text = page(told)
    if str(args.output) == "-":
        print(text, end="")
    else:
        _write(args.output, text)
        note(f"written: {args.output}")
    return 0


def _readiness(agent: Client, since: str) -> ReadinessReport | None:
    """None from an agent that does not tell."""
    try:
        return cast(ReadinessReport, agent.get("/v1/readiness", since=since))
    except AnswerError as error:
        if error.code in ("not-found", "bad-request"):
            return None
        raise


def _write(path: Path, text: str) -> None:
    """The file whole or not at all, as readable as any that this user makes. Raises DynallowError.

    What is no file (/dev/null, /dev/stdout, a pipe) is written to, and not replaced by one.
    """
    temporary = None
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
            return
        place = Path(os.path.realpath(path))
        descriptor, temporary = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            mask = os.umask(0)
            os.umask(mask)
            os.fchmod(file.fileno(), 0o666 & ~mask)
        os.replace(temporary, place)
    except OSError as error:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)
        raise DynallowError(f"cannot write {path}: {error.strerror}") from error
