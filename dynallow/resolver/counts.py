"""What the resolver counts: plain integers, read by `status` and the metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """Since the agent's start. A question is counted once by verdict and once by source.

    But for `hot`: a reply given again was allowed when it was made, and is counted here alone.
    """

    allowed: int = 0
    denied: int = 0
    """Also when the denial was given before and stood ready."""
    filtered: int = 0
    local: int = 0
    """Told by this host itself: localhost, names behind leased addresses."""
    malformed: int = 0
    refused: int = 0
    """Well-formed, but nothing a stub resolver serves: other classes, AXFR, ANY, EDNS versions."""
    hot: int = 0
    cached: int = 0
    fresh: int = 0
    joined: int = 0
    """Waited for the same question of another client."""
    renewed: int = 0
    """Asked for ahead of their end, because they are in use."""
    stale: int = 0
    servfail: int = 0
    scrubbed: int = 0
    """Addresses left out because they are special-purpose."""
    trimmed: int = 0
    """Addresses left out because a budget is used up."""
    overload: int = 0
    """Questions turned away because too many were in flight."""
    tcp_refused: int = 0
    """TCP connections closed because there were too many: the one that had rested longest, or the new one."""
    tcp_cut: int = 0
    """TCP connections closed half-way through a question, or because their replies were not read."""
    unsent: int = 0
    """Replies over UDP that the kernel did not take: its buffer was full, or another table was in the way."""
    tcp_kept_waiting: int = 0
    """Times that no descriptor was left to take a client with: he waits, and it is tried again after 1 s."""


@dataclass(slots=True)
class LivingCounts:
    """Names that the agent asked for by itself, because a flow to an address of theirs lived."""

    asked: int = 0
    kept: int = 0
    """Leases that their answers made longer."""
    passed_over: int = 0
    """Not asked for, because there were too many."""
    unread: int = 0
    """Times that the kernel did not tell its flows."""
