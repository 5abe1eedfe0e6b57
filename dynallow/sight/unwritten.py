"""Counts by minute and subject that are not in the file yet.

Pure; moments are seconds of the wall clock. Keeps: what is added is there, as itself or, where there is no
room for more subjects, among the untold: sums are exact, memory is bounded (`SUBJECTS_MAX`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dynallow.usage.record import Decision, Kind, Mode, Record, Subject, plus

MINUTE_S: Final = 60
SUBJECTS_MAX: Final = 8192
Row = tuple[int, Record]
"""The minute's first second, and what was counted in it."""


def untold(kind: Kind, decision: Decision, mode: Mode) -> Subject:
    """Stands for what could not be told apart; denied for no reason, which nothing else is."""
    return Subject(kind, decision, mode, "", "", "", "", "", "", None, "", "")


def is_untold(subject: Subject) -> bool:
    """Whether it is one of those."""
    return subject.decision != "allowed" and not subject.why


class Unwritten:
    """Rows to be written."""

    def __init__(self, size: int = SUBJECTS_MAX) -> None:
        self.size = size
        self._rows: dict[tuple[int, Subject], Record] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, record: Record) -> None:
        """Count it in the minute of its end."""
        minute = int(record.last // MINUTE_S) * MINUTE_S
        key = (minute, record.subject)
        known = self._rows.get(key)
        if known is None and len(self._rows) >= self.size:
            subject = record.subject
            if subject.decision == "allowed":
                subject = subject._replace(name="", address="", process="", unit="")
            else:
                subject = untold(subject.kind, subject.decision, subject.mode)
            record = record._replace(subject=subject)
            key = (minute, subject)
            known = self._rows.get(key)
        self._rows[key] = record if known is None else plus(known, record)

    def rows(self) -> list[Row]:
        """All of them, as they stand."""
        return [(minute, record) for (minute, _), record in list(self._rows.items())]

    def take(self) -> list[Row]:
        """All of them, and begin anew."""
        rows, self._rows = self._rows, {}
        return [(minute, record) for (minute, _), record in rows.items()]

    def drop_before(self, at: float) -> None:
        """Forget what is older: nothing is kept elsewhere."""
        self._rows = {key: record for key, record in self._rows.items() if record.last >= at}

    def give_back(self, rows: Iterable[Row]) -> None:
        """These could not be written."""
        for _minute, record in rows:
            self.add(record)
