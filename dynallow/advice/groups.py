"""Names that the same users and units used on the same ports, put together: each group becomes a rule.

Pure. Knows what was needed. Must not know TOML nor how rules are called. Keeps: a group opens a port of a
name to a user exactly if that user was seen to use it (or somebody was whom the kernel did not tell, then to
everybody); names that were only asked for are in groups of their own, on the default port.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network
from typing import Final

from dynallow.advice.needs import Needs, Use
from dynallow.policy.special import special_purpose
from dynallow.units import PortRange

DEFAULT_PORT: Final = PortRange("tcp", 443, 443)
_PRIVATE_MAX = 16  # single addresses before whole networks are named
_WIDER = {4: 24, 6: 64}

Key = tuple[bool, bool, tuple[PortRange, ...], tuple[int, ...], tuple[str, ...]]


@dataclass(slots=True)
class Group:
    """What a rule is made of. `users` empty: every user; `guessed`: asked for, nobody connected.

    `inner`: its names gave special-purpose addresses; names that did not are in another group.
    """

    guessed: bool
    inner: bool
    ports: tuple[PortRange, ...]
    users: tuple[int, ...]
    units: tuple[str, ...]
    names: dict[str, list[Use]] = field(default_factory=dict)

    @property
    def uses(self) -> list[Use]:
        """Of all its names."""
        return [use for uses in self.names.values() for use in uses]


def groups_of(needs: Needs) -> list[Group]:
    """The groups, the most used first."""
    groups: dict[Key, Group] = {}
    for name, by_use in needs.names.items():
        uses = list(by_use.values())
        for key, own in _entries(uses):
            group = groups.setdefault(key, Group(*key))
            group.names.setdefault(name, []).extend(own)
    return sorted(groups.values(), key=_order)


def private_of(uses: Iterable[Use]) -> tuple[IPv4Network | IPv6Network, ...]:
    """The special-purpose addresses that were used, as a rule's `private` names them."""
    found = {ip_address(text) for use in uses for text in use.addresses}
    special = [address for address in found if special_purpose(address.packed) is not None]
    if len(special) <= _PRIVATE_MAX:
        return tuple(sorted((ip_network(address) for address in special), key=_network_order))
    wide = [ip_network((address, _WIDER[address.version]), strict=False) for address in special]
    fours = collapse_addresses(net for net in wide if isinstance(net, IPv4Network))
    sixes = collapse_addresses(net for net in wide if isinstance(net, IPv6Network))
    return (*fours, *sixes)


def joined(ports: Iterable[PortRange]) -> tuple[PortRange, ...]:
    """The same ports, neighbours as ranges."""
    result: list[PortRange] = []
    for port in sorted(set(ports)):
        if result and result[-1].protocol == port.protocol and result[-1].last + 1 >= port.first:
            result[-1] = PortRange(port.protocol, result[-1].first, max(result[-1].last, port.last))
        else:
            result.append(port)
    return tuple(result)


def _entries(uses: Sequence[Use]) -> list[tuple[Key, list[Use]]]:
    """What one name was used for: each set of ports with the users and units that used all of them."""
    flows = [use for use in uses if use.port is not None]
    if not flows:
        users = {use.user for use in uses}
        known = tuple(sorted(user for user in users if user is not None)) if None not in users else ()
        return [((True, False, (DEFAULT_PORT,), known, _units(uses)), list(uses))]
    ports: dict[int | None, set[PortRange]] = defaultdict(set)
    for use in flows:
        if use.port is not None:
            ports[use.user].add(use.port)
    for named in [user for user in ports if user is not None]:
        ports[named] -= ports.get(None, set())  # open to everybody already
    by_ports: dict[tuple[PortRange, ...], list[int | None]] = defaultdict(list)
    for user, used in ports.items():
        if used:
            by_ports[joined(used)].append(user)
    entries = []
    for joint, who in by_ports.items():
        own = [
            use
            for use in flows
            if (use.user in who or None in who) and any(use.port in each for each in joint)
        ]
        users_of = tuple(sorted(user for user in who if user is not None))
        entries.append(
            ((False, bool(private_of(own)), joint, users_of, _units(own)), [*own, *_asked(uses, who)])
        )
    return entries


def _asked(uses: Sequence[Use], who: Sequence[int | None]) -> list[Use]:
    """The questions that go with these users' connections."""
    return [use for use in uses if use.port is None and (use.user is None or use.user in who)]


def _units(uses: Iterable[Use]) -> tuple[str, ...]:
    return tuple(sorted({use.unit for use in uses if use.unit}))


def _order(group: Group) -> tuple[bool, int, list[str], list[str]]:
    times = sum(use.times for use in group.uses)
    return group.guessed, -times, sorted(group.names), [*map(str, group.ports), *map(str, group.users)]


def _network_order(network: IPv4Network | IPv6Network) -> tuple[int, int]:
    return network.version, int(network.network_address)
