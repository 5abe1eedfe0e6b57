"""Where a verb takes the records from: the agent, or a file that `dynallow replay --record` has saved.

Knows the API's path, the file and the arguments that name them. Must not know what follows from records.
"""

from __future__ import annotations

import json
import math
import os
import stat
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynallow.cli.connect import client, socket_argument
from dynallow.durations import format_duration, parse_duration
from dynallow.errors import DynallowError

if TYPE_CHECKING:
    from dynallow.control.historyrows import History

_TIMEOUT_S = 60.0
_FILE_MAX = 256 * 1024 * 1024


class HistoryError(DynallowError):
    """Records that cannot be read, or saved."""


def history_arguments(parser: ArgumentParser, since: str) -> None:
    """Add `--since`, `--history` and `--socket`."""
    parser.add_argument(
        "--since",
        metavar="SPAN",
        type=duration,
        default=None,
        help=f"how far to look back, such as 1h or 7d (default: {since}; of a file all that is in it)",
    )
    parser.add_argument(
        "--history",
        metavar="FILE",
        type=Path,
        help="records that `dynallow replay --record` has saved, instead of asking the agent",
    )
    parser.set_defaults(since_default=parse_duration(since))
    socket_argument(parser)


def config_argument(parser: ArgumentParser) -> None:
    """Add `--config`, for `settings_file`."""
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="the settings' main file (default: the agent's)"
    )


def duration(text: str) -> float:
    """Seconds from "1d", for arguments."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def recorded(args: Namespace) -> History:
    """The records that `args` mean. Raises ControlError, AnswerError, HistoryError."""
    from dynallow.control.historyrows import parse_history

    if args.history is None:
        history = parse_history(asked(args))
        since_s = args.since_default if args.since is None else args.since
        return history._replace(since=history.until - since_s)
    try:
        history = parse_history(_read(args.history))
    except ValueError as error:
        raise HistoryError(
            f"{args.history}: {error}", "dynallow replay --record FILE saves such a file"
        ) from None
    if args.since is None:
        return history
    since = history.until - args.since
    return history._replace(since=since, records=[each for each in history.records if each.last >= since])


def settings_file(args: Namespace, named: Path | None) -> Path | None:
    """The main file that was named, else the agent's, else (of a file of records) None: the default."""
    if named is not None or args.history is not None:
        return named
    agent = client(args, _TIMEOUT_S).get("/v1/status").get("agent")
    path = agent.get("settings") if isinstance(agent, dict) else None
    return Path(path) if isinstance(path, str) else None


def asked(args: Namespace) -> dict[str, Any]:
    """The agent's answer, as it came."""
    since_s = args.since_default if args.since is None else args.since
    return client(args, _TIMEOUT_S).get("/v1/history", since=str(math.ceil(since_s)))


def save(report: dict[str, Any], path: Path) -> None:
    """Write the agent's answer; "-" is stdout. Of the owner alone: it tells what this host has asked for."""
    text = json.dumps(report, separators=(",", ":")).replace('},{"id"', '},\n{"id"') + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
        return
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                os.fchmod(file.fileno(), 0o600)  # also one that was there
            file.write(text)
    except OSError as error:
        raise HistoryError(f"{path}: {error.strerror}") from error


def window_text(history: History) -> str:
    """What the records cover, in words."""
    span = format_duration(max(history.until - history.since, 0.0))
    if history.begins is None:
        return f"nothing is recorded of the last {span}"
    if history.begins > history.since:
        reach = format_duration(max(history.until - history.begins, 0.0))
        return f"records of the last {reach}; there are none of the rest of {span}"
    return f"records of the last {span}"


def _read(path: Path) -> object:
    try:
        with path.open("rb") as file:
            raw = file.read(_FILE_MAX + 1)
    except OSError as error:
        raise HistoryError(f"{path}: expected a readable file, got: {error.strerror}") from error
    if len(raw) > _FILE_MAX:
        raise ValueError(f"expected at most {_FILE_MAX} bytes, got more")
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise ValueError("expected JSON, got something else") from None
