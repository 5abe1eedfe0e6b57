"""When what is in force changed, and how the last reload went.

Moments are the wall clock's, for graphs and people; nothing is decided by them. Pure but for that clock.
Invariant: the last `KEPT` changes are remembered, however many there are; the count of them is exact.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from dynallow.control.reports.history import moment
from dynallow.control.schema import PolicyReport
from dynallow.settings import Settings

KEPT: Final = 64
_NAMED: Final = 5  # rules whose names a change's text tells


class Change(NamedTuple):
    """At `at` (Unix seconds) these came into force, as the `generation`th since the agent's start."""

    at: float
    generation: int
    what: str


class PolicyLog:
    """One agent's."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.generation = 1
        """Policies in force so far; the first one is the start's."""
        self.changed_at = clock()
        self.changes: deque[Change] = deque(maxlen=KEPT)
        self.reloads = {"done": 0, "failed": 0}
        self.reload_done = True
        """Whether the last reload came into force; true before the first."""
        self.reload_at: float | None = None
        """When the last one was tried."""

    def changed(self, what: str) -> None:
        """Other settings, or another mode, are in force from now on."""
        self.generation += 1
        self.changed_at = self._clock()
        self.changes.append(Change(self.changed_at, self.generation, what))

    @contextmanager
    def reload(self) -> Iterator[None]:
        """Around a reload: counts it by how it ends."""
        self.reload_at = self._clock()
        self.reload_done = False
        try:
            yield
            self.reload_done = True
        finally:
            self.reloads["done" if self.reload_done else "failed"] += 1


def policy_report(log: PolicyLog) -> PolicyReport:
    """What the status tells of it."""
    return {
        "generation": log.generation,
        "since": moment(log.changed_at),
        "last_reload": None if log.reload_at is None else "done" if log.reload_done else "failed",
        "changes": [
            {"at": moment(change.at), "generation": change.generation, "what": change.what}
            for change in log.changes
        ],
    }


def told(before: Settings, after: Settings) -> str:
    """What differs, in words: "mode enforce; rules added: api; rules changed: mirror, ntp and 3 more"."""
    old = {rule.name: rule for rule in before.rules}
    new = {rule.name: rule for rule in after.rules}
    words = [] if before.mode == after.mode else [f"mode {after.mode}"]
    for what, names in (
        ("added", new.keys() - old.keys()),
        ("removed", old.keys() - new.keys()),
        ("changed", {name for name in old.keys() & new.keys() if old[name] != new[name]}),
    ):
        if names:
            words.append(f"rules {what}: {_listed(sorted(names))}")
    sections = [
        section
        for section in ("destinations", "resolver", "lease", "firewall")
        if getattr(before, section) != getattr(after, section)
    ]
    if sections:
        words.append(f"changed: {', '.join(sections)}")
    return "; ".join(words) or "reloaded: nothing changed"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
