"""`dynallow denied`: what was denied lately, how often, why, and by whom.

Asks the agent, which keeps counts over restarts. Without `--by` one line a (question or destination,
user, process), each with the sign that `explain` takes; with it the sums by that.
"""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import cast

from dynallow.cli.connect import client, socket_argument
from dynallow.cli.output import Block, Line, Table, print_json, show
from dynallow.cli.phrases import plural, user_name, users_text
from dynallow.cli.windows import clock_text, since_argument
from dynallow.control.historyschema import DeniedReport, HistoryRow
from dynallow.durations import format_duration

_TIMEOUT_S = 60.0
_LIMIT = 50
_UNKNOWN = "-"
_WITH_DAY_S = 2e5
_THEN = {"observe": " (observed)", "enforce": " (enforced)"}
_WHAT = {
    "name": "name",
    "destination": "destination",
    "user": "user",
    "process": "process (unit)",
    "rule": "rule that comes nearest",
}


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--by", choices=tuple(_WHAT), help="sums by this instead of single lines")
    since_argument(parser)
    parser.add_argument(
        "--limit", type=_count, default=_LIMIT, metavar="N", help=f"the N most frequent (default: {_LIMIT})"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    socket_argument(parser)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and int(text)):
        raise ArgumentTypeError(f'expected a number from 1 to 999999, got "{text}"')
    return int(text)


def execute(args: Namespace) -> int:
    """Print it."""
    answer = client(args, _TIMEOUT_S).get(
        "/v1/denied", since=str(args.since), by=args.by, limit=str(args.limit)
    )
    report = cast(DeniedReport, answer)
    if args.json:
        print_json(report)
    else:
        show(denied_blocks(report, args.since, args.by))
    return 0


def denied_blocks(report: DeniedReport, window_s: float, by: str | None) -> list[Block]:
    """The totals first, then the lines."""
    blocks: list[Block] = [Line(_totals(report, window_s), "bold")]
    untold = report["untold"]
    if any(untold.values()):
        text = f"{_sums(untold)} of them came too fast to be told apart, and are in no line"
        blocks.append(Line(text, "warn"))
    if report["begins"] is not None and report["begins"] > report["since"]:
        blocks.append(Line(f"recorded since {clock_text(report['begins'], _WITH_DAY_S)}", "dim"))
    table = _rows(report, window_s) if by is None else _groups(report, window_s, by)
    if table.rows:
        blocks += [Line(), table]
    left = report["matched"] - len(table.rows)
    if left > 0:
        blocks.append(Line(f"and {plural(left, 'line')} more: --limit, or --by", "dim"))
    return blocks


def _totals(report: DeniedReport, window_s: float) -> str:
    total, observed = report["total"], report["observed"]
    what = "would be denied (mode observe: they went through)"
    if report["mode"] != "observe":
        what = f"denied, {_sums(observed)} of them only observed" if any(observed.values()) else "denied"
    packets = report["denied_packets"]
    ever = "" if packets is None else f"; {plural(packets, 'packet')} since the table was made"
    return f"last {format_duration(window_s)}: {_sums(total)} {what}{ever}"


def _sums(counts: dict[str, int]) -> str:
    return f"{plural(counts['questions'], 'question')}, {plural(counts['packets'], 'packet')}"


def _rows(report: DeniedReport, window_s: float) -> Table:
    rows = [
        (
            row["id"],
            _what(row),
            _why(row, report["mode"]),
            _UNKNOWN if row["user"] is None else user_name(row["user"]),
            row["process"] or _UNKNOWN,
            row["unit"] or _UNKNOWN,
            str(row["count"]),
            clock_text(row["first"], window_s),
            clock_text(row["last"], window_s),
        )
        for row in report["rows"]
    ]
    headings = ("line", "what", "why", "user", "process", "unit", "count", "first", "last")
    return Table(headings, rows, frozenset((6,)))


def _what(row: HistoryRow) -> str:
    if row["kind"] == "question":
        return f"{row['qtype']} {row['name']}"
    named = f" ({row['name']})" if row["name"] else ""
    return f"{row['port']} {row['address']}{named}"


def _why(row: HistoryRow, mode: str) -> str:
    """One word, the rule that comes nearest, and the mode where that is another by now."""
    rule = f" [{row['rule']}]" if row["rule"] else ""
    return f"{row['why']}{rule}{'' if row['mode'] == mode else _THEN[row['mode']]}"


def _groups(report: DeniedReport, window_s: float, by: str) -> Table:
    rows = [
        (
            _group_key(group["key"], by),
            str(group["count"]),
            str(group["questions"]),
            str(group["flows"]),
            users_text(group["users"]) if group["users"] else _UNKNOWN,
            clock_text(group["first"], window_s),
            clock_text(group["last"], window_s),
            group["id"],
        )
        for group in report["groups"]
    ]
    headings = (_WHAT[by], "count", "questions", "packets", "users", "first", "last", "most frequent")
    return Table(headings, rows, frozenset((1, 2, 3)))


def _group_key(key: str, by: str) -> str:
    if not key:
        return _UNKNOWN
    return user_name(int(key)) if by == "user" else key
