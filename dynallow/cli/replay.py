"""`dynallow replay [FILE]`: what was recorded against the settings of FILE; exit 5 if something would break.

Needs no agent where `--history` names a file that `--record` has saved.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from dynallow.cli.connect import settings_arguments, settings_path
from dynallow.cli.output import Block, Line, Table, note, print_json, show
from dynallow.cli.phrases import listed, plural, user_name
from dynallow.cli.recorded import asked, history_arguments, recorded, save, settings_file, window_text

if TYPE_CHECKING:
    from dynallow.advice.replay import Change, Replayed
    from dynallow.control.historyrows import History

BREAKS = 5
_SHOWN = 50
_WHY = {
    "not-listed": "no rule lists the name",
    "name": "no rule lists the name",
    "excepted": "excepted by {rules}",
    "expired": "{rules} has expired",
    "reserved": "reserved name",
    "type": "not a type of {rules}",
    "dns": "DNS goes to dynallow alone",
    "port": "not a port of {rules}",
    "user": "not a user of {rules}",
    "lapsed": "its lease had ended",
    "no-name": "no name, no destination",
    "private": "special address, not in private of {rules}",
    "protocol": "neither TCP nor UDP",
}


class ChangeReport(TypedDict):
    id: str
    kind: str
    name: str
    qtype: str
    address: str
    port: str
    user: int | None
    process: str
    unit: str
    count: int
    last: str
    was: str
    was_rule: str
    now: str
    now_why: str
    now_rules: list[str]


class ReplayReport(TypedDict):
    """The answer of `replay --json`. `unchanged` counts records, `unchanged_count` what they count."""

    settings: list[str]
    since: str
    until: str
    begins: str | None
    untold: dict[str, int]
    breaks: bool
    newly_denied: list[ChangeReport]
    newly_allowed: list[ChangeReport]
    unchanged: int
    unchanged_count: int


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    settings_arguments(parser)
    history_arguments(parser, "7d")
    parser.add_argument(
        "--record",
        metavar="OUT",
        type=Path,
        help="save the agent's records for --history, and do nothing else",
    )
    parser.add_argument(
        "--at", metavar="DATE", type=_day, help="judge as of this day, such as 2027-01-31: rules expire"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def _day(text: str) -> float:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f'expected a date such as 2027-01-31, got "{text}"') from None
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def execute(args: Namespace) -> int:
    """Compare; exit 5 when something that was used would be denied."""
    if args.record is not None:
        report = asked(args)
        save(report, args.record)
        note(f"{args.record}: {plural(len(report['rows']), 'record')}")
        return 0
    from dynallow.advice.replay import replay
    from dynallow.settings import load

    loaded = load(settings_file(args, settings_path(args)))
    history = recorded(args)
    replayed = replay(history.records, loaded, time.time() if args.at is None else args.at)
    if args.json:
        print_json(_report(replayed, history, [str(file) for file in loaded.files]))
    else:
        note(window_text(history))
        show(_blocks(replayed))
    return BREAKS if replayed.newly_denied else 0


def _blocks(replayed: Replayed) -> list[Block]:
    blocks: list[Block] = []
    if replayed.newly_denied:
        blocks += [Line("newly denied: this was used, and would break", "bad")]
        blocks += _table(replayed.newly_denied, ("was by", "now denied: why"))
        blocks += [Line()]
    if replayed.newly_allowed:
        blocks += [
            Line("newly allowed", "warn"),
            *_table(replayed.newly_allowed, ("was denied: why", "now by")),
        ]
        blocks += [Line()]
    denied, allowed = replayed.newly_denied, replayed.newly_allowed
    return [
        *blocks,
        Line(f"newly denied   {_counts(len(denied), sum(each.record.times for each in denied))}"),
        Line(f"newly allowed  {_counts(len(allowed), sum(each.record.times for each in allowed))}"),
        Line(f"unchanged      {_counts(replayed.unchanged, replayed.unchanged_times)}"),
    ]


def _counts(records: int, times: int) -> str:
    return f"{plural(records, 'record')}, {times} ×"


def _table(changes: tuple[Change, ...], headings: tuple[str, str]) -> list[Block]:
    """A line for what differs in nothing but types, addresses of a name and mode."""
    times: dict[tuple[str, ...], int] = {}
    whats: dict[tuple[str, ...], list[str]] = {}
    for record, ruling in changes:
        subject = record.subject
        who = "" if subject.user is None else user_name(subject.user)
        before = subject.rule if subject.decision == "allowed" else _why(subject.why, (subject.rule,))
        after = ", ".join(ruling.rules) if ruling.decision == "allowed" else _why(ruling.why, ruling.rules)
        name = subject.name or subject.address
        key = (name, subject.kind, subject.port, who, subject.process, before, after)
        times[key] = times.get(key, 0) + record.times
        whats.setdefault(key, []).append(subject.qtype or subject.port)
    rows = [
        (str(times[key]), key[0], listed(dict.fromkeys(whats[key])), *key[3:])
        for key in sorted(times, key=lambda key: (-times[key], key))[:_SHOWN]
    ]
    heads = ("count", "name or address", "type or port", "user", "process", *headings)
    more = [Line(f" and {len(times) - _SHOWN} more (--json has all)")] if len(times) > _SHOWN else []
    return [Table(heads, rows, frozenset((0,))), *more]


def _why(why: str, rules: tuple[str, ...]) -> str:
    return _WHY.get(why, why).format(rules=", ".join(filter(None, rules)) or "a rule")


def _report(replayed: Replayed, history: History, files: list[str]) -> ReplayReport:
    from dynallow.control.reports.history import moment

    return {
        "settings": files,
        "since": moment(history.since),
        "until": moment(history.until),
        "begins": None if history.begins is None else moment(history.begins),
        "untold": history.untold,
        "breaks": bool(replayed.newly_denied),
        "newly_denied": [*map(_change, replayed.newly_denied)],
        "newly_allowed": [*map(_change, replayed.newly_allowed)],
        "unchanged": replayed.unchanged,
        "unchanged_count": replayed.unchanged_times,
    }


def _change(change: Change) -> ChangeReport:
    from dynallow.control.reports.history import moment
    from dynallow.usage.record import ident

    subject = change.record.subject
    return {
        "id": ident(subject),
        "kind": subject.kind,
        "name": subject.name,
        "qtype": subject.qtype,
        "address": subject.address,
        "port": subject.port,
        "user": subject.user,
        "process": subject.process,
        "unit": subject.unit,
        "count": change.record.times,
        "last": moment(change.record.last),
        "was": subject.decision,
        "was_rule": subject.rule,
        "now": change.ruling.decision,
        "now_why": change.ruling.why,
        "now_rules": list(change.ruling.rules),
    }
