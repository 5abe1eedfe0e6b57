"""Running totals of what was denied, and of flows by what allowed them, by labels that nobody can grow.

Pure. Whoever makes records adds them here as well; the metrics read. Keeps: sums are exact, whatever is
folded; no label is a name from the network; at most `USERS_MAX` users and `SERIES_MAX` combinations are told
apart, the rest is "other" (10).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from dynallow.usage.record import Record

USERS_MAX: Final = 64
SERIES_MAX: Final = 1024
OTHER: Final = "other"
UNKNOWN: Final = "unknown"
_PROTOCOLS: Final = frozenset(("tcp", "udp", "icmp", "icmpv6", "sctp"))


class Labels(NamedTuple):
    """What a denial is counted under."""

    kind: str
    mode: str
    why: str
    rule: str
    """That comes nearest; empty for none."""
    protocol: str
    """ "dns" of questions."""
    user: str
    """uid, "unknown", or "other"."""


class Totals:
    """Since the agent's start."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}
        self._counts: dict[Labels, int] = {}
        self._users: set[int] = set()

    def add(self, record: Record) -> None:
        """Count it; of what was allowed only flows, questions being counted on the road."""
        subject = record.subject
        if subject.decision == "allowed":
            if subject.kind == "flow":
                self._used[subject.rule] = self._used.get(subject.rule, 0) + record.times
            return
        protocol = subject.port.partition("/")[0]
        labels = Labels(
            subject.kind,
            subject.mode,
            subject.why or UNKNOWN,
            subject.rule,
            "dns" if subject.kind == "question" else protocol if protocol in _PROTOCOLS else OTHER,
            self._user(subject.user),
        )
        if labels not in self._counts and len(self._counts) >= SERIES_MAX:
            # What is left is a kind, a mode, a word and a protocol: some hundred at most.
            labels = labels._replace(rule=OTHER, user=OTHER)
        self._counts[labels] = self._counts.get(labels, 0) + record.times

    def _user(self, uid: int | None) -> str:
        if uid is None:
            return UNKNOWN
        if uid not in self._users:
            if len(self._users) >= USERS_MAX:
                return OTHER
            self._users.add(uid)
        return str(uid)

    def denied(self) -> Mapping[Labels, int]:
        """A copy, for another thread."""
        return self._counts.copy()

    def used(self) -> Mapping[str, int]:
        """Flows by the rule or destination that allowed them; a copy."""
        return self._used.copy()
