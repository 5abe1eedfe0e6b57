"""The readiness report: what `advice` makes of what `sight` remembers.

Blocking, for a thread. Keeps: whatever is wrong with what is remembered is told as a report of its own;
nobody is kept from switching by it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, Protocol

from dynallow.advice.readiness import Group, Readiness, readiness, unknown
from dynallow.control.readinessschema import ReadinessReport, WouldBeDenied
from dynallow.control.reports import history
from dynallow.control.reports.history import moment
from dynallow.control.schema import Mode
from dynallow.settings import Loaded

log = logging.getLogger(__name__)

_ROWS_MAX: Final = 50
_PORTS_MAX: Final = 8


class Change(Protocol):
    """`sight`'s: from then on it is this mode, the same one perhaps."""

    @property
    def at(self) -> float: ...
    @property
    def mode(self) -> str: ...


class Past(history.Past, Protocol):
    """Who remembers, modes too."""

    def changes(self, since: float) -> Sequence[Change]: ...


def report(
    past: Past | None, loaded: Loaded, mode: Mode, mode_since: float, since: float, now: float
) -> ReadinessReport:
    """What was seen from `since` to `now`; `mode` is in force since `mode_since` (wall clock)."""
    untold: dict[str, int] = {}
    try:
        if past is None:
            found = unknown("no history is kept")
        else:
            observing = mode_since if mode == "observe" else None
            modes = [(change.at, change.mode) for change in past.changes(since)]
            found = readiness(past.records(since), loaded, now, since, observing, modes)
            untold = past.untold(since)
    except Exception as error:  # a by-stander: whatever it is, it must not keep anybody from switching
        log.exception("the history could not be read")
        found = unknown(f"the history could not be read: {error}")
    return _report(found, mode, since, now, untold)


def _report(
    found: Readiness, mode: Mode, since: float, now: float, untold: dict[str, int]
) -> ReadinessReport:
    return {
        "verdict": found.verdict,
        "text": found.text,
        "mode": mode,
        "since": moment(since),
        "until": moment(now),
        "observed_s": round(found.observed_s),
        "denials": sum(group.times for group in found.left),
        "denied": _rows(found.left),
        "more": max(len(found.left) - _ROWS_MAX, 0),
        "newest": None if found.newest is None else moment(found.newest),
        "bypasses": _rows(found.bypasses),
        "meant": found.meant,
        "harmless": found.harmless,
        "untold": untold,
    }


def _rows(groups: Sequence[Group]) -> list[WouldBeDenied]:
    return [
        {
            "id": group.id,
            "user": group.subject.user,
            "unit": group.subject.unit,
            "process": group.subject.process,
            "name": group.subject.name,
            "address": group.subject.address if not group.subject.name else "",
            "ports": sorted(group.ports)[:_PORTS_MAX],
            "why": group.subject.why,
            "count": group.times,
            "first": moment(group.first),
            "last": moment(group.last),
        }
        for group in groups[:_ROWS_MAX]
    ]
