"""Somebody who wants to see who asks what is denied, while he is still there.

A Protocol that the resolver owns: a listener calls it for a denied or filtered question (observing: what
would be) before the reply leaves, because whoever has his answer may be gone a moment later. Counts are
not its business: it is shown a few a second, and the listeners look at one number for all others.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Ends(NamedTuple):
    """A client and where it asked; addresses packed."""

    protocol: int
    """6 or 17."""
    source: bytes
    source_port: int
    address: bytes
    """The listener's; as the client sees it another one, where its packets were turned."""
    port: int


class Witness(Protocol):
    """Called in the loop's thread, in the middle of a burst: must not raise, wait or take long."""

    @property
    def opens(self) -> float:
        """Monotonic second from which on it wants to see one more."""

    def look(self, packet: bytes, ends: Ends) -> None:
        """A client's whole question, and the client."""


class NoWitness:
    """Never wants to see anything."""

    opens = float("inf")

    def look(self, packet: bytes, ends: Ends) -> None:
        """See Witness."""
