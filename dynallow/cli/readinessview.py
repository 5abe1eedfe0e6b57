"""The readiness report as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence

from dynallow.cli.output import Block, Line, Style, Table
from dynallow.cli.phrases import clock_text, listed, plural, user_name
from dynallow.control.readinessschema import ReadinessReport, WouldBeDenied

_SHOWN = 10
_STYLES: dict[str, Style] = {"ready": "good", "not-yet": "warn", "too-little-seen": "warn"}


def readiness_blocks(report: ReadinessReport) -> list[Block]:
    """The verdict, who would be denied what, and what is beside it."""
    blocks: list[Block] = [Line(report["text"], _STYLES.get(report["verdict"], ""))]
    rows = report["denied"]
    if rows:
        blocks += [Line(), _table(rows[:_SHOWN])]
        more = max(len(rows) - _SHOWN, 0) + report["more"]
        if more > 0:
            blocks.append(Line(f"and {more} more: `dynallow denied`"))
        blocks.append(Line())
    bypasses = report["bypasses"]
    if bypasses:
        times = sum(row["count"] for row in bypasses)
        who = listed(dict.fromkeys(map(_who, bypasses[:3])))
        blocks.append(Line(f"DNS past dynallow, which enforce stops: {plural(times, 'time')}, by {who}"))
    beside = (
        (report["meant"], "denied as rules say (excepted, expired)"),
        (
            report["harmless"],
            "that nobody waits for (search lists, reverse names, types that come back empty)",
        ),
        (sum(report["untold"].values()), "that could not be told apart (a flood)"),
    )
    blocks += [Line(f"beside these: {count} {what}") for count, what in beside if count]
    return blocks


def _table(rows: Sequence[WouldBeDenied]) -> Table:
    headings = ("would be denied", "ports", "user", "process", "unit", "why", "times", "last")
    return Table(
        headings,
        [
            (
                row["name"] or row["address"],
                listed(row["ports"]) if row["ports"] else "-",
                "?" if row["user"] is None else user_name(row["user"]),
                row["process"] or "?",
                row["unit"] or "-",
                row["why"],
                str(row["count"]),
                clock_text(row["last"]),
            )
            for row in rows
        ],
        frozenset((6,)),
    )


def _who(row: WouldBeDenied) -> str:
    return row["process"] or row["unit"] or ("?" if row["user"] is None else user_name(row["user"]))
