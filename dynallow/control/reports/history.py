"""What the API tells of the past: records and the timeline, as the schema spells them.

Knows values and their spelling; blocking, for a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quoted
from typing import Protocol, cast

from dynallow.control.encode import Listed
from dynallow.control.historyschema import (
    By,
    DeniedGroup,
    DeniedReport,
    HistoryReport,
    HistoryRow,
    LogLine,
    TimelineReport,
)
from dynallow.control.schema import Mode
from dynallow.usage.lines import Line, text
from dynallow.usage.record import Record, Subject, ident

_AT_ONCE = 256


class Past(Protocol):
    """Who remembers; all of it blocking. Moments are seconds of the wall clock."""

    def records(self, since: float, until: float | None = None) -> list[Record]: ...
    def untold(self, since: float, until: float | None = None) -> dict[str, int]: ...
    def begins(self) -> float | None: ...


class Step(Protocol):
    """`sight.Point`."""

    @property
    def at(self) -> float: ...
    @property
    def questions_allowed(self) -> int: ...
    @property
    def questions_denied(self) -> int: ...
    @property
    def flows_allowed(self) -> int: ...
    @property
    def flows_denied(self) -> int: ...


class Changed(Protocol):
    """`sight.reading.Change`."""

    @property
    def at(self) -> float: ...
    @property
    def kind(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def text(self) -> str: ...


def moment(seconds: float) -> str:
    """ISO 8601, UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def history(
    past: Past, since: float, now: float, kind: str | None = None, decision: str | None = None
) -> HistoryReport:
    """The records of the window, only those of this kind and decision where they are given."""
    records = [
        record
        for record in past.records(since)
        if kind in (None, record.subject.kind) and decision in (None, record.subject.decision)
    ]
    begins = past.begins()
    parts = (
        [_text(record) for record in records[start : start + _AT_ONCE]]
        for start in range(0, len(records), _AT_ONCE)
    )
    return {
        "since": moment(since),
        "until": moment(now),
        "begins": None if begins is None else moment(begins),
        "untold": past.untold(since),
        # A list of rows to whoever reads the JSON; here it is JSON already.
        "rows": cast(list[HistoryRow], Listed(parts)),
    }


def _text(record: Record) -> str:
    subject = record.subject
    user = "null" if subject.user is None else subject.user
    return (
        f'{{"id": {quoted(ident(subject))}, "kind": "{subject.kind}", "decision": "{subject.decision}", '
        f'"mode": "{subject.mode}", "why": "{subject.why}", "name": {quoted(subject.name)}, '
        f'"qtype": {quoted(subject.qtype)}, "address": {quoted(subject.address)}, '
        f'"port": {quoted(subject.port)}, "rule": {quoted(subject.rule)}, "user": {user}, '
        f'"process": {quoted(subject.process)}, "unit": {quoted(subject.unit)}, "count": {record.times}, '
        f'"first": "{moment(record.first)}", "last": "{moment(record.last)}"}}'
    )


def timeline(
    points: Sequence[Step], changes: Sequence[Changed], since: float, now: float, step_s: int
) -> TimelineReport:
    """Every step of the window."""
    return {
        "since": moment(since),
        "until": moment(now),
        "step_s": step_s,
        "points": [
            {
                "at": moment(point.at),
                "questions_allowed": point.questions_allowed,
                "questions_denied": point.questions_denied,
                "flows_allowed": point.flows_allowed,
                "flows_denied": point.flows_denied,
            }
            for point in points
        ],
        "changes": [
            {"at": moment(one.at), "kind": one.kind, "mode": one.mode, "text": one.text} for one in changes
        ],
    }


def denied(
    past: Past, since: float, now: float, mode: Mode, packets: int | None, by: By | None, limit: int
) -> DeniedReport:
    """What was denied, filtered questions too, one line each or grouped."""
    found = [record for record in past.records(since) if record.subject.decision != "allowed"]
    untold = past.untold(since)
    begins = past.begins()
    total = _sums(found)
    total = {what: count + untold[what] for what, count in total.items()}
    groups = [] if by is None else _groups(found, by)
    rows = found if by is None else []
    return {
        "mode": mode,
        "since": moment(since),
        "until": moment(now),
        "begins": None if begins is None else moment(begins),
        "total": total,
        "observed": _sums(one for one in found if one.subject.mode == "observe"),
        "untold": untold,
        "denied_packets": packets,
        "matched": len(groups) or len(rows),
        "rows": cast(list[HistoryRow], Listed([[_text(record)] for record in rows[:limit]])),
        "groups": groups[:limit],
    }


def _sums(records: Iterable[Record]) -> dict[str, int]:
    sums = {"questions": 0, "packets": 0}
    for record in records:
        sums["questions" if record.subject.kind == "question" else "packets"] += record.times
    return sums


def _groups(records: list[Record], by: By) -> list[DeniedGroup]:
    sums: dict[str, list[Record]] = {}
    for record in records:
        sums.setdefault(_key(record.subject, by), []).append(record)
    groups = [_group(key, some) for key, some in sums.items()]
    return sorted(groups, key=lambda group: (-group["count"], group["key"]))


def _group(key: str, records: list[Record]) -> DeniedGroup:
    questions = sum(one.times for one in records if one.subject.kind == "question")
    count = sum(one.times for one in records)
    users = {one.subject.user for one in records}
    return {
        "key": key,
        "count": count,
        "questions": questions,
        "flows": count - questions,
        "users": sorted(user for user in users if user is not None),
        "first": moment(min(one.first for one in records)),
        "last": moment(max(one.last for one in records)),
        "id": ident(max(records, key=lambda one: one.times).subject),
    }


def _key(subject: Subject, by: By) -> str:
    """What it is grouped by; empty where that is not known or has no meaning."""
    match by:
        case "name":
            return subject.name
        case "destination":
            return f"{subject.address} {subject.port}".strip()
        case "user":
            return "" if subject.user is None else str(subject.user)
        case "process":
            return f"{subject.process} {f'({subject.unit})' if subject.unit else ''}".strip()
        case "rule":
            return f"{subject.rule or '-'} ({subject.why})"


def log_line(line: Line) -> LogLine:
    """One line, as the schema spells it."""
    return {
        "at": moment(line.at),
        "event": line.event,
        "decision": line.decision,
        "mode": line.mode,
        "why": line.why,
        "name": line.name,
        "qtype": line.qtype,
        "addresses": list(line.addresses),
        "port": line.port,
        "rule": line.rule,
        "user": line.user,
        "process": line.process,
        "unit": line.unit,
        "count": line.times,
        "lease_s": line.lease_s,
        "id": line.id,
        "note": line.note,
        "text": text(line),
    }


def lost(count: int, mode: Mode, at: float) -> LogLine:
    """For a reader who was too slow."""
    told = log_line(Line(at, "left-out", "", mode, note=f"{count} lines: you read too slowly", times=count))
    return {**told, "event": "lost"}
