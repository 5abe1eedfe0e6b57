"""What other settings would have made of what was recorded.

Pure. Knows records and how settings judge them. Keeps: settings replayed against records that they made
themselves change nothing (`tests/property/test_replay.py`); each record is in exactly one of the three parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dynallow.advice.ruling import Court, Ruling
from dynallow.settings import Loaded
from dynallow.usage.record import Record, Subject, total


class Change(NamedTuple):
    """A record that the settings would have decided otherwise, and how."""

    record: Record
    ruling: Ruling


class Replayed(NamedTuple):
    """The most frequent first. What was allowed counts as used, so that each newly denied one would break.

    What was denied and later allowed, by rules that came in between, is not newly allowed.
    """

    newly_denied: tuple[Change, ...]
    newly_allowed: tuple[Change, ...]
    unchanged: int
    """Records."""
    unchanged_times: int


def replay(records: Sequence[Record], loaded: Loaded, wall: float) -> Replayed:
    """Judge the records by `loaded`, in mode `enforce`, its rules as old as they are at `wall`."""
    court = Court(loaded, wall, records)
    allowed_at = _allowed_at(records)
    denied, allowed = [], []
    unchanged = times = 0
    for record in total(records):
        ruling = court.judge(record.subject)
        was, would_be = record.subject.decision == "allowed", ruling.decision == "allowed"
        if was and not would_be:
            denied.append(Change(record, ruling))
        elif would_be and not was and allowed_at.get(_wanted(record.subject), 0.0) < record.last:
            allowed.append(Change(record, ruling))
        else:
            unchanged += 1
            times += record.times
    return Replayed(tuple(denied), tuple(allowed), unchanged, times)


def _allowed_at(records: Sequence[Record]) -> dict[tuple[str, ...], float]:
    """When each thing that was wanted was allowed last."""
    found: dict[tuple[str, ...], float] = {}
    for record in records:
        if record.subject.decision == "allowed":
            key = _wanted(record.subject)
            found[key] = max(found.get(key, 0.0), record.last)
    return found


def _wanted(subject: Subject) -> tuple[str, ...]:
    """What it was, whoever asked: of an allowed question that is not told."""
    who = "" if subject.kind == "question" else str(subject.user)
    return (subject.kind, subject.name, subject.qtype, subject.address, subject.port, who)
