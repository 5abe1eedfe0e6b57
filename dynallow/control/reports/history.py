"""What the API tells of the past: records and the timeline, as the schema spells them.

Knows values and their spelling; blocking, for a thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quoted
from typing import Protocol, cast

from dynallow.control.encode import Listed
from dynallow.control.historyschema import HistoryReport, HistoryRow, TimelineReport
from dynallow.usage.record import Record, ident

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


def timeline(points: Sequence[Step], since: float, now: float, step_s: int) -> TimelineReport:
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
    }
