"""What the history knows of a subject.

Knows records alone; who keeps them is behind a Protocol. Blocking: not for the loop's thread. Keeps: a
history that is not there, or cannot be read, takes nothing from an explanation but this part. Whoever keeps
it has errors of his own, so every exception is meant.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from dynallow.control.historyschema import HistoryRow
from dynallow.control.reports.source import moment
from dynallow.control.schema import ExplainReport
from dynallow.usage.record import Record, Subject, ident

log = logging.getLogger(__name__)

T = TypeVar("T")

ROWS_TOLD = 10


class Past(Protocol):
    """What was asked, used and denied."""

    async def settle(self) -> None:
        """Return when what has happened by now can be read."""

    def begins(self) -> float | None:
        """The oldest moment that is kept, wall clock; None: nothing is. Blocking."""

    def about(self, names: Collection[str], addresses: Collection[str]) -> list[Record]:
        """One a subject of these names and addresses, the latest first, not without end. Blocking."""

    def find(self, sign: str) -> Subject | None:
        """A subject by its `ident`. Blocking."""


def row(record: Record) -> HistoryRow:
    """A record as it is told."""
    subject, times, first, last = record
    return {
        "id": ident(subject),
        "kind": subject.kind,
        "decision": subject.decision,
        "mode": subject.mode,
        "why": subject.why,
        "name": subject.name,
        "qtype": subject.qtype,
        "address": subject.address,
        "port": subject.port,
        "rule": subject.rule,
        "user": subject.user,
        "process": subject.process,
        "unit": subject.unit,
        "count": times,
        "first": moment(datetime.fromtimestamp(first, UTC)),
        "last": moment(datetime.fromtimestamp(last, UTC)),
    }


def said(ask: Callable[[], T], otherwise: T) -> T:
    """What the history says; `otherwise` where it fails, in whatever way: a by-stander takes nothing away."""
    try:
        return ask()
    except Exception as error:
        log.debug("no history: %s", error)
        return otherwise


async def settled(past: Past | None) -> None:
    """Return when what has happened by now can be read, or never will."""
    try:
        if past is not None:
            await past.settle()
    except Exception as error:
        log.debug("no history: %s", error)


def about(past: Past | None, names: Collection[str], addresses: Collection[str]) -> list[Record]:
    """What there is of these, the latest first; nothing where there is no history."""
    return [] if past is None else said(lambda: past.about(names, addresses), [])


def find(past: Past | None, sign: str) -> Subject | None:
    """What a line of `denied` is about; None where nobody knows it."""
    return None if past is None else said(lambda: past.find(sign), None)


def tell(report: ExplainReport, past: Past | None, records: list[Record]) -> None:
    """Put the latest into the report."""
    report["past"] = [row(record) for record in records[:ROWS_TOLD]]
    report["past_rows"] = len(records)
    begins = None if past is None else said(past.begins, None)
    report["past_begins"] = None if begins is None else moment(datetime.fromtimestamp(begins, UTC))
