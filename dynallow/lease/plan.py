"""What the kernel must be told so that grants hold, and the room that this takes until it has answered.

Pure data; `Ledger` makes it and decides by it. Must not know of sets or sockets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

Put = tuple[str, bytes, float, bytes, bool, bool]
"""One element that the kernel must hold: (rule, address, deadline, name, fresh, unrevoke).

The deadline is in monotonic seconds. Fresh: no live lease stood for it when it was planned, the name is its
first earner. Unrevoke: the address stands in the revoked set and must leave it in the same transaction.
A plain tuple: one is made for each address of each fresh answer, and taken apart three times.
"""

Room = tuple[str, tuple[str, bytes], int]
"""(rule, rule and name, how many): the places that a name's new leases take until they are in the ledger."""


Plan = tuple[list[Put], list[Put], frozenset[bytes], list[Room]]
"""What the kernel must be told so that some grants hold: (puts, claims, refused, room).

Puts are for the kernel; `Ledger.commit` once it has acknowledged them. Claims: the lease is long enough, only
the name is new to it; `Ledger.commit` at once. Refused are addresses over a budget: they must be left out of
the answer. Room is what the puts need; `Ledger.reserve` it until they are committed or given up.
"""


class Revocation(NamedTuple):
    """Elements to take away, and the addresses whose flows must be judged anew."""

    elements: tuple[tuple[str, bytes], ...]
    cut: tuple[bytes, ...]
    """Every address that lost a lease; others may hold it still, on other ports or for other users."""


def room_of(puts: Iterable[Put]) -> list[Room]:
    """The room that some puts need: of a rule and a name for each that is fresh."""
    fresh = Counter((rule, name) for rule, _, _, name, fresh, _ in puts if fresh)
    return [(key[0], key, count) for key, count in fresh.items()]
