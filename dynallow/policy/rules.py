"""A rule: who may use the addresses behind its names, on which ports.

Knows no names: the index maps names to the rules' numbers, so that a list of
a million names costs one reference a name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from dynallow.policy.rrtypes import DEFAULT_TYPES
from dynallow.units import PortRange

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Rule:
    """`users` are uids, none meaning everybody; `expires_at` is the first epoch second that is too late."""

    index: int
    name: str
    ports: tuple[PortRange, ...] = (PortRange("tcp", 443, 443),)
    users: tuple[int, ...] = ()
    types: frozenset[int] = DEFAULT_TYPES
    private: tuple[Network, ...] = ()
    reason: str = ""
    owner: str = ""
    expires_at: float | None = None
    _prefixes: tuple[tuple[int, int, int], ...] = field(init=False, repr=False, compare=False)
    """`private` as (packed size, mask, network): asked for each special address of each fresh answer."""

    def __post_init__(self) -> None:
        prefixes = tuple(
            (network.max_prefixlen // 8, int(network.netmask), int(network.network_address))
            for network in self.private
        )
        object.__setattr__(self, "_prefixes", prefixes)

    def opens(self, packed: bytes) -> bool:
        """Whether one of `private` holds the address."""
        size, number = len(packed), int.from_bytes(packed, "big")
        return any([size == length and number & mask == start for length, mask, start in self._prefixes])

    def expired(self, wall: float) -> bool:
        """Whether the rule allows nothing any more at wall-clock time `wall`."""
        return self.expires_at is not None and wall >= self.expires_at
