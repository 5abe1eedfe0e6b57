"""Leases that ended by themselves: flows to their addresses may live on, and must end with their rule.

Pure. Keeps: bounded (`LAPSED_MAX`, the oldest go first); whoever looks at flows says which addresses still
have one (`keep`). An entry too many costs nothing but a look at an address that has no flow.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Container, Iterable
from typing import Final

LAPSED_MAX: Final = 16384


class Lapsed:
    """By rule and address: the name that had earned the lease."""

    def __init__(self, size: int = LAPSED_MAX) -> None:
        self.size = size
        self._names: OrderedDict[tuple[str, bytes], bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._names)

    def note(self, rule: str, address: bytes, name: bytes) -> None:
        """A lease has lapsed."""
        self._names[rule, address] = name
        if len(self._names) > self.size:
            self._names.popitem(last=False)

    def addresses(self) -> set[bytes]:
        """All of them."""
        return {address for _, address in self._names}

    def at(self, address: bytes, rules: Iterable[str]) -> list[tuple[str, bytes]]:
        """Which of the rules had the address, and the name that had earned it."""
        return [(rule, name) for rule in rules if (name := self._names.get((rule, address))) is not None]

    def of(self, unjustified: Callable[[str, bytes], bool], rules: Container[str]) -> list[bytes]:
        """The addresses of those that have lost their rule, or what had earned them."""
        return [
            address
            for (rule, address), name in self._names.items()
            if rule not in rules or unjustified(rule, name)
        ]

    def forget(self, unjustified: Callable[[str, bytes], bool], rules: Container[str]) -> None:
        """Those of `of`: they were dealt with."""
        for key in [
            (rule, address)
            for (rule, address), name in self._names.items()
            if rule not in rules or unjustified(rule, name)
        ]:
            del self._names[key]

    def keep(self, looked_at: Container[bytes], alive: Container[bytes]) -> None:
        """Of the addresses that were looked at, only these have a flow."""
        for key in [key for key in self._names if key[1] in looked_at and key[1] not in alive]:
            del self._names[key]
