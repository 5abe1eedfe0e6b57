"""What an answer justifies, and how long that lasts.

Pure. Keeps invariant 2 by arithmetic alone: the TTL that `told_ttl` allows is
always shorter than the lifetime that `lifetime` asks of the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Grant(NamedTuple):
    """The addresses of one name that one rule is to allow, because a client will be told them.

    A NamedTuple: one is made for every fresh answer and rule, and a frozen
    dataclass costs three times as much to make.
    """

    rule: str
    addresses: tuple[bytes, ...]
    """Packed, 4 or 16 bytes each."""
    ttl_s: int
    """The TTL that the client will be told."""
    name: bytes
    """The asked name (lower-case wire form) that earned the addresses."""
    ends: float | None = None
    """Monotonic second at which the rule itself expires; no lease outlives it."""


class Lease(NamedTuple):
    """An address in a rule's set: until when (monotonic seconds), and who earned it."""

    deadline: float
    name: bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """The `[lease]` settings, in seconds and counts."""

    grace_s: float = 60.0
    min_s: float = 60.0
    max_s: float = 86400.0
    max_addresses_per_name: int = 256
    max_per_rule: int = 65536


def told_ttl(ttl_s: int, limits: Limits, left_s: float | None = None) -> int:
    """The TTL a client may be told for an address of TTL `ttl_s`.

    Bounded so that even the longest lease outlives it by the grace, and by
    `left_s`, the seconds until the earliest of the allowing rules expires.
    """
    longest = int(limits.max_s - limits.grace_s)
    told = ttl_s if ttl_s < longest else longest  # twice as fast as min(), once a fresh answer
    if left_s is not None and left_s < told:
        told = int(left_s)
    return told if told > 0 else 0


def lifetime(told_s: int, limits: Limits) -> float:
    """Seconds that a lease lives when a client was just told `told_s`."""
    wanted = told_s + limits.grace_s
    if wanted < limits.min_s:
        wanted = limits.min_s
    return wanted if wanted < limits.max_s else limits.max_s
