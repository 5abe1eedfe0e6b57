"""Whether mode `enforce` could begin: how long it was watched, and who would be denied what.

Pure. Knows records and how the settings in force judge them. Must not know who asks. Keeps: what these
settings allow by now is not held against them, and each record that they deny is in exactly one of the parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from dynallow.advice.ruling import Court
from dynallow.durations import format_duration
from dynallow.policy.names import Name, labels, parse_name
from dynallow.policy.reserved import may_be_derived, without_suffix
from dynallow.settings import Loaded
from dynallow.usage.record import Record, Subject, ident

Verdict = Literal["ready", "not-yet", "too-little-seen", "unknown"]
Part = Literal["left", "bypass", "meant", "harmless"]

ENOUGH_S: Final = 86400.0
"""What runs once a day has run by then."""
_MEANT: Final = ("excepted", "expired")
_HARMLESS: Final = ("reserved", "type")


@dataclass(slots=True)
class Group:
    """What one process of one user wanted of one name, or of an address without one."""

    subject: Subject
    """The most frequent one's."""
    ports: set[str] = field(default_factory=set)
    times: int = 0
    first: float = float("inf")
    last: float = 0.0

    @property
    def id(self) -> str:
        """To ask `explain` about it."""
        return ident(self.subject)

    def take(self, record: Record) -> None:
        """Count the record."""
        port = {record.subject.port} - {""}
        self.add(Group(record.subject, port, record.times, record.first, record.last))

    def add(self, other: Group) -> None:
        """Count what the other has counted."""
        self.times += other.times
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.ports |= other.ports


class Key(NamedTuple):
    """By what a group is told from others."""

    what: str
    user: int | None
    unit: str
    process: str


class Readiness(NamedTuple):
    """`left`: would be denied; `bypasses`: DNS past dynallow, which is redirected or refused then."""

    verdict: Verdict
    text: str
    observed_s: float
    left: tuple[Group, ...]
    """The most frequent first."""
    bypasses: tuple[Group, ...]
    meant: int
    """How often what a rule excepts, or one that has expired lists."""
    harmless: int
    """How often names that never existed (search lists), of addresses, of types that come back empty."""

    @property
    def newest(self) -> float | None:
        """When the last one that was new among `left` came first."""
        return max((group.first for group in self.left), default=None)


def readiness(
    records: Sequence[Record],
    loaded: Loaded,
    now: float,
    since: float,
    observing_since: float | None,
    modes: Sequence[tuple[float, str]] = (),
) -> Readiness:
    """What the records since `since` say; `observing_since` is when mode `observe` began, if it is on.

    `modes`: those that began since then, each with its moment, the oldest first.
    """
    court = Court(loaded, now, records)
    parts: dict[Part, dict[Key, Group]] = {"left": {}, "bypass": {}, "meant": {}, "harmless": {}}
    began = [] if observing_since is None else [observing_since]
    for record in records:
        subject = record.subject
        if subject.mode != "observe":
            continue
        began.append(record.first)
        part = _part(subject, court, loaded.settings.resolver.search_suffixes)
        if part is not None:
            key = Key(subject.name or subject.address, subject.user, subject.unit, subject.process)
            parts[part].setdefault(key, Group(subject)).take(record)
    observed_s = _observed_s(max(min(began), since), modes, now) if began else 0.0
    left = _sorted(_folded(parts["left"]))
    verdict, text = _verdict(observed_s, left, now, any(record.times for record in records))
    return Readiness(
        verdict,
        text,
        observed_s,
        left,
        _sorted(parts["bypass"].values()),
        sum(group.times for group in parts["meant"].values()),
        sum(group.times for group in parts["harmless"].values()),
    )


def _observed_s(begin: float, modes: Sequence[tuple[float, str]], now: float) -> float:
    """How long mode `observe` was on from `begin`, when it was: what was enforced meanwhile shows nothing."""
    observed_s, at, mode = 0.0, begin, "observe"
    for moment, next_mode in [*modes, (now, "")]:
        if moment > at:
            observed_s += moment - at if mode == "observe" else 0.0
            at, mode = moment, next_mode
    return observed_s


def unknown(why: str) -> Readiness:
    """Where nobody remembers."""
    return Readiness("unknown", f"not known: {why}", 0.0, (), (), 0, 0)


def _folded(groups: dict[Key, Group]) -> Iterator[Group]:
    """What no process is known of goes to one that wanted the same as the same user."""
    known = {key[:2]: group for key, group in groups.items() if key.process}
    for key, group in groups.items():
        other = None if key.process else known.get(key[:2])
        if other is None:
            yield group
        else:
            other.add(group)


def _sorted(groups: Iterable[Group]) -> tuple[Group, ...]:
    return tuple(sorted(groups, key=lambda group: (-group.times, -group.last, group.id)))


def _part(subject: Subject, court: Court, suffixes: Sequence[Name]) -> Part | None:
    """Where a record counts; None for what was allowed, or is by now."""
    if subject.decision == "allowed":
        return None
    ruling = court.judge(subject)
    if ruling.decision == "allowed":
        return None
    if ruling.why == "dns":
        return "bypass"
    if ruling.why in _MEANT:
        return "meant"
    if ruling.why in _HARMLESS or (subject.kind == "question" and _is_idle(subject.name, suffixes)):
        return "harmless"
    return "left"


def _is_idle(text: str, suffixes: Sequence[Name]) -> bool:
    """Whether nobody waits for an answer: a reverse name, or one that a search list has made up."""
    try:
        name = parse_name(text)
    except ValueError:
        return False
    return (not may_be_derived(name) and len(labels(name)) > 1) or bool(
        suffixes and without_suffix(name, suffixes)
    )


def _verdict(observed_s: float, left: Sequence[Group], now: float, anything: bool) -> tuple[Verdict, str]:
    watched = f"{format_duration(max(observed_s, 0.0))} observed"
    if left:
        times = sum(group.times for group in left)
        newest_s = max(now - max(group.first for group in left), 0.0)
        return (
            "not-yet",
            f"not yet: {watched}, {times} would-be denials left of {len(left)} kind{'s' * (len(left) != 1)}, "
            f"the last new one {format_duration(newest_s)} ago",
        )
    if not anything:
        return "too-little-seen", f"too little seen: {watched}, and nothing was asked or sent"
    if observed_s < ENOUGH_S:
        return (
            "too-little-seen",
            f"too little seen: {watched} and nothing left to deny, but what runs once a day may be missing",
        )
    return "ready", f"ready: {watched}, and nothing left to deny"
