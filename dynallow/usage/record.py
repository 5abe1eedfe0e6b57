"""One line of what happened: who wanted what, what came of it, how often and when.

Pure. Knows no agent, file or kernel: `sight/` makes records and keeps them, `advice/` and the
CLI read them. Keeps: two records of one subject can be added, in any order, to the same sum.

A *question* is a DNS question; a *flow* is the first packet of a connection (of what has no
connections every packet that no answer has come to yet). In mode `observe` a denied one went
through, and `enforce` would have denied it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from heapq import merge
from itertools import islice
from typing import Final, Literal, NamedTuple

Kind = Literal["question", "flow"]
Decision = Literal["allowed", "denied", "filtered"]
Mode = Literal["observe", "enforce"]
Why = Literal[
    "",  # allowed
    "derived",  # an allowed question: no rule lists the name, an answer for a listed one led to it
    # of questions
    "not-listed",  # no rule lists the name
    "excepted",  # a rule lists it, and excepts it
    "expired",  # the rule that lists it has expired
    "reserved",  # answered here, whatever rules say (localhost, .onion, …)
    "type",  # the name is fine, the record type is not
    # of flows
    "dns",  # DNS past dynallow
    "port",  # a rule opens the address, on other ports
    "user",  # a rule opens the address and port, for other users
    "lapsed",  # the address was a rule's, and its lease has ended or was revoked
    "name",  # the address was told for a name that no rule allows (observe)
    "no-name",  # the address never came from DNS
]

_AT_ONCE: Final = 512


class Subject(NamedTuple):
    """What is counted; all but when and how often. What is unknown or has no meaning is empty."""

    kind: Kind
    decision: Decision
    mode: Mode
    why: Why
    name: str
    """The name asked for; of a flow the name that gave the address last."""
    qtype: str
    """"A", "TYPE65", …"""
    address: str
    port: str
    """"tcp/443"; of what has no ports the protocol alone ("icmp", "47")."""
    rule: str
    """The rule or destination that allows it, or that comes nearest: whose address, port or pattern it is.

    A question that several rules allow has them joined by "," in the order of the settings."""
    user: int | None
    """uid of the socket."""
    process: str
    """The program's name as the kernel has it (15 octets at most)."""
    unit: str
    """The systemd unit, "nginx.service"."""


class Record(NamedTuple):
    """A subject and its count; moments are seconds of the wall clock (Unix)."""

    subject: Subject
    times: int
    first: float
    last: float


def ident(subject: Subject) -> str:
    """A short sign for what was wanted by whom, to name it by: "@4f0c2a".

    The same in both modes and whatever came of it, so that a line of `denied` can be asked
    about after the rules have changed.
    """
    told = (subject.kind, subject.name, subject.qtype, subject.address, subject.port, str(subject.user))
    return "@" + hashlib.blake2s("\0".join(told).encode(), digest_size=3).hexdigest()


def total(records: Iterable[Record]) -> list[Record]:
    """One record a subject, the most frequent first; of equal ones the latest."""
    sums: dict[Subject, Record] = {}
    for record in records:
        known = sums.get(record.subject)
        sums[record.subject] = record if known is None else plus(known, record)
    return in_order(sums.values())


def in_order(records: Iterable[Record]) -> list[Record]:
    """The most frequent first; of equal ones the latest.

    In parts: a sort holds the interpreter to its end, and of some thousands that is what all other threads
    wait for.
    """
    unsorted = iter(records)
    parts = []
    while part := sorted(islice(unsorted, _AT_ONCE), key=_order):
        parts.append(part)
    return list(merge(*parts, key=_order))


def _order(record: Record) -> tuple[int, float, tuple[object, ...]]:
    return -record.times, -record.last, record.subject[3:9]


def plus(one: Record, other: Record) -> Record:
    """Both, of one subject."""
    return Record(
        one.subject, one.times + other.times, min(one.first, other.first), max(one.last, other.last)
    )
