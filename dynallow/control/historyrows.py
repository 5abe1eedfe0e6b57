"""The rows of `GET /v1/history` → records: the other way round than `reports/history.py`.

Pure. Knows how the API spells values. The rows may come from a file that anybody wrote: what does not fit
is a fault that names the row, never a wrong record. Keys that this version does not know are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, cast, get_args

from dynallow.usage.record import Decision, Kind, Mode, Record, Subject, Why

_UID_MAX: Final = 2**32 - 2
_TEXT_MAX: Final = 4096
_KINDS, _DECISIONS, _MODES, _WHYS = map(get_args, (Kind, Decision, Mode, Why))


class History(NamedTuple):
    """What was recorded from `since` to `until`; moments are seconds of the wall clock (Unix)."""

    records: list[Record]
    since: float
    until: float
    begins: float | None
    """The oldest moment that is kept."""
    untold: dict[str, int]
    """Denied packets and questions that are in no record."""


def parse_history(report: object) -> History:
    """The report as values. Raises ValueError, "expected …, got …"."""
    if not isinstance(report, dict) or not isinstance(report.get("rows"), list):
        raise ValueError('expected the answer of /v1/history, an object with "rows", got something else')
    begins, untold = report.get("begins"), report.get("untold")
    rows = report["rows"]
    records = []
    for number, row in enumerate(rows):
        try:
            records.append(_record(row))
        except ValueError as error:
            raise ValueError(f"row {number}: {error}") from None
    return History(
        records,
        _moment(report.get("since"), "since"),
        _moment(report.get("until"), "until"),
        None if begins is None else _moment(begins, "begins"),
        {str(key): count for key, count in untold.items() if isinstance(count, int)}
        if isinstance(untold, dict)
        else {},
    )


def _record(row: object) -> Record:
    if not isinstance(row, dict):
        raise ValueError("expected an object, got something else")
    subject = Subject(
        cast(Kind, _one_of(row, "kind", _KINDS)),
        cast(Decision, _one_of(row, "decision", _DECISIONS)),
        cast(Mode, _one_of(row, "mode", _MODES)),
        cast(Why, _one_of(row, "why", _WHYS)),
        _text(row, "name"),
        _text(row, "qtype"),
        _text(row, "address"),
        _text(row, "port"),
        _text(row, "rule"),
        _user(row.get("user")),
        _text(row, "process"),
        _text(row, "unit"),
    )
    count = row.get("count")
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ValueError("count: expected a whole number, got something else")
    return Record(subject, count, _moment(row.get("first"), "first"), _moment(row.get("last"), "last"))


def _one_of(row: Mapping[str, Any], key: str, known: tuple[str, ...]) -> str:
    value = row.get(key)
    if value not in known:
        raise ValueError(f"{key}: expected one of {', '.join(filter(None, known))}, got {str(value)[:40]!r}")
    return str(value)


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or len(value) > _TEXT_MAX:
        raise ValueError(f"{key}: expected a text, got {str(value)[:40]!r}")
    return value


def _user(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _UID_MAX:
        raise ValueError(f"user: expected a uid or null, got {str(value)[:40]!r}")
    return value


def _moment(value: object, key: str) -> float:
    try:
        moment = datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(f"{key}: expected a moment in ISO 8601, got {str(value)[:40]!r}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
