"""What the kernel must be told so that grants hold, and the room that this takes until it has answered.

Pure data and its counting. `Ledger` makes plans and decides by the room; must not know of sets or sockets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Put(NamedTuple):
    """One element that the kernel must hold until `deadline` (monotonic seconds)."""

    rule: str
    address: bytes
    deadline: float
    name: bytes
    fresh: bool
    """No live lease stood for it when it was planned: the name is its first earner."""
    unrevoke: bool
    """The address stands in the revoked set and must leave it in the same transaction."""


class Plan(NamedTuple):
    """What the kernel must be told so that some grants hold."""

    puts: tuple[Put, ...]
    """For the kernel; `Ledger.commit` once it has acknowledged them."""
    claims: tuple[Put, ...]
    """The lease is long enough, only the name is new to it; `Ledger.commit` at once."""
    refused: frozenset[bytes]
    """Addresses over a budget: they must be left out of the answer."""


Places = dict[str | tuple[str, bytes], int]
"""How many are taken: of a rule's leases, and of a name's addresses within a rule."""


def count_places(places: Places, puts: Iterable[Put], step: int) -> None:
    """Take the places of what is fresh among `puts` (step 1), or give them back (step -1)."""
    taken = 0
    of_rule, of_name = "", b""
    for rule, _, _, name, fresh, _ in puts:
        if name is not of_name or rule is not of_rule:  # neighbours are mostly of one answer
            _take(places, of_rule, of_name, taken)
            of_rule, of_name, taken = rule, name, 0
        if fresh:
            taken += step
    _take(places, of_rule, of_name, taken)


def _take(places: Places, rule: str, name: bytes, count: int) -> None:
    if count:
        for key in (rule, (rule, name)):
            now_taken = places.get(key, 0) + count
            if now_taken:
                places[key] = now_taken
            else:
                del places[key]
