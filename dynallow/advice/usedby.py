"""What each rule and destination was used for, read from the records.

Pure. Knows records and how the settings judge them. Keeps: only what was allowed counts, and only for rules
that would allow it today; questions of type SVCB count for nothing (`dynallow audit` asks them itself).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from dynallow.advice.ruling import Court
from dynallow.policy.names import parse_name, to_text
from dynallow.policy.policy import service_parent
from dynallow.policy.rrtypes import SERVICE_TYPES, parse_type
from dynallow.settings import Loaded
from dynallow.units import PortRange, parse_port
from dynallow.usage.record import Record, Subject

ASKED_BY_AUDIT: Final = "SVCB"


@dataclass(slots=True)
class Used:
    """Of one rule or destination. `names`: that were connected to or asked for; `types`: asked for."""

    connections: int = 0
    questions: int = 0
    last_connection: float = 0.0
    last_question: float = 0.0
    names: set[str] = field(default_factory=set)
    ports: set[PortRange] = field(default_factory=set)
    users: set[int | None] = field(default_factory=set)
    types: set[str] = field(default_factory=set)

    @property
    def last(self) -> float:
        """When it was used last; 0 for never."""
        return max(self.last_connection, self.last_question)


def used_by(records: Iterable[Record], loaded: Loaded, wall: float) -> dict[str, Used]:
    """By name of the rule or destination."""
    kept = list(records)
    court = Court(loaded, wall, kept)
    found: dict[str, Used] = defaultdict(Used)
    for record in kept:
        subject = record.subject
        if subject.decision != "allowed" or subject.qtype == ASKED_BY_AUDIT:
            continue
        ruling = court.judge(subject)
        if ruling.decision != "allowed":
            continue
        named = set(subject.rule.split(","))
        for rule in [each for each in ruling.rules if each in named] or ruling.rules:
            _count(found[rule], record, subject)
    return dict(found)


def _count(used: Used, record: Record, subject: Subject) -> None:
    if name := _listed_name(subject):
        used.names.add(name)
    if subject.kind == "question":
        used.questions += record.times
        used.last_question = max(used.last_question, record.last)
        used.types.add(subject.qtype)
        return
    used.connections += record.times
    used.last_connection = max(used.last_connection, record.last)
    used.users.add(subject.user)
    try:
        used.ports.add(parse_port(subject.port))
    except ValueError:
        pass


def _listed_name(subject: Subject) -> str:
    """The name that a pattern lists: NAME of _service._proto.NAME."""
    try:
        name = parse_name(subject.name)
        service = bool(subject.qtype) and parse_type(subject.qtype) in SERVICE_TYPES
    except ValueError:
        return ""
    return to_text((service_parent(name) if service else None) or name)
