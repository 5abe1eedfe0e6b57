"""What the kernel has counted, by destination, port and user: what was let through and what was denied.

Knows the four flow sets and the counter `denied`; must not know names, rules or who asks. Reading is
blocking, for a thread; through a socket of its own.

Keeps: what a read tells was not told before (by this object, or by the one whose `marks` it was given). An
element that cannot be told from what it was before is taken for the less: never negative, never twice.
"""

from __future__ import annotations

from typing import NamedTuple


class Tally(NamedTuple):
    """Packets that were counted since the last read."""

    denied: bool
    address: bytes
    """The destination, packed."""
    protocol: int
    """IP's number; 255 where the kernel cannot tell it."""
    port: int
    """0 of what has none (anything but TCP and UDP), and where it cannot be told."""
    uid: int | None
    """None: no socket, or the kernel's own."""
    packets: int
    octets: int


class Tallies:
    """What is new since the last read. Not for two threads at once.

    What was told already is known by `marks`: whoever keeps records for longer than this process lives keeps
    the marks with them, in the same transaction, and hands them to the next one. Without marks, or with some
    of another boot, the first read tells all that the kernel has counted: that is right where there are no
    records either.
    """

    def __init__(self, marks: bytes = b"") -> None: ...

    def read(self) -> list[Tally]:
        """What was counted since the last read. Blocking. Raises KernelError; nothing is lost by it."""
        raise NotImplementedError

    def total(self) -> int:
        """Denied packets in all, exact: also those for which there was no room. Raises KernelError."""
        raise NotImplementedError

    def marks(self) -> bytes:
        """What was told up to the last read, for the next agent's `Tallies`; 52 bytes a flow."""
        raise NotImplementedError
