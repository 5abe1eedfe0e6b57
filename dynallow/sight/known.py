"""Which name gave an address last, under which rules: also after the lease is gone.

Knows addresses, names and moments (monotonic seconds). Keeps: bounded (`KNOWN_MAX`, what was told longest
ago goes first); only a guess about who is meant, never a reason to allow anything.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from dynallow.policy.names import Name

KNOWN_MAX: Final = 16384


class Given(NamedTuple):
    """`rules` is empty for a name that no rule allows; it counts until `until`, a lease's rule for ever."""

    name: Name
    rules: tuple[str, ...]
    until: float


class Known:
    """By address, packed."""

    def __init__(self, size: int = KNOWN_MAX) -> None:
        self.size = size
        self._given: OrderedDict[bytes, Given] = OrderedDict()

    def __len__(self) -> int:
        return len(self._given)

    def note(self, address: bytes, name: Name, rules: tuple[str, ...], until: float) -> None:
        """An answer for `name` gave the address."""
        self._given[address] = Given(name, rules, until)
        self._given.move_to_end(address)
        if len(self._given) > self.size:
            self._given.popitem(last=False)

    def at(self, address: bytes, now: float) -> Given | None:
        """What gave it last; nothing where that was long ago and no rule's."""
        given = self._given.get(address)
        if given is None or (not given.rules and given.until < now):
            return None
        return given
