"""Whether one rule lets through all that another does, so that the other could go.

Pure. Knows patterns, ports and users of settings. Keeps: "covers" is said only where it holds for every name,
port, user, type, address and day; where lists in files would have to be read, it is not said of their rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

from dynallow.policy.patterns import STAR, Pattern, label_matches
from dynallow.settings import Destination, RuleSettings
from dynallow.units import PortRange

Network = IPv4Network | IPv6Network


def rule_covers(wide: RuleSettings, narrow: RuleSettings) -> bool:
    """Whether `wide` allows all that `narrow` does, for as long."""
    if narrow.names_from or not narrow.names:
        return False
    if wide.expires is not None and (narrow.expires is None or narrow.expires > wide.expires):
        return False
    if any(may_meet(each, name) for each in wide.except_ for name in narrow.names):
        return False
    return (
        _opens_all(wide.ports, wide.users, narrow.ports, narrow.users)
        and set(narrow.types) <= set(wide.types)
        and _holds_all(wide.private, narrow.private)
        and all(any(pattern_covers(each, name) for each in wide.names) for name in narrow.names)
    )


def destination_covers(wide: Destination, narrow: Destination) -> bool:
    """Whether `wide` opens all that `narrow` does."""
    return _opens_all(wide.ports, wide.users, narrow.ports, narrow.users) and _holds_all(
        wide.addresses, narrow.addresses
    )


def pattern_covers(wide: Pattern, narrow: Pattern) -> bool:
    """Whether `wide` matches every name that `narrow` does."""
    extra = len(narrow.labels) - len(wide.labels)
    if extra < 0 or not all(map(_label_covers, wide.labels, narrow.labels[extra:])):
        return False
    if extra == 0:
        return (wide.apex or not narrow.apex) and (wide.below or not narrow.below)
    return wide.below


def may_meet(one: Pattern, other: Pattern) -> bool:
    """Whether a name may be matched by both, as far as their last labels tell."""
    pairs = zip(reversed(one.labels), reversed(other.labels), strict=False)
    if not all(_labels_meet(a, b) for a, b in pairs):
        return False
    extra = len(other.labels) - len(one.labels)
    return (extra == 0) or (one.below if extra > 0 else other.below)


def _labels_meet(one: bytes, other: bytes) -> bool:
    if STAR in one:
        return STAR in other or label_matches(one, other)
    return label_matches(other, one)


def _label_covers(wide: bytes, narrow: bytes) -> bool:
    head, star, tail = wide.partition(b"*")
    if not star:
        return wide == narrow
    first, inner, last = narrow.partition(b"*")
    if not inner:
        return len(narrow) >= len(head) + len(tail) and narrow.startswith(head) and narrow.endswith(tail)
    return first.startswith(head) and last.endswith(tail)


def _opens_all(
    ports: Sequence[PortRange], users: Sequence[int], fewer: Sequence[PortRange], some: Sequence[int]
) -> bool:
    if users and (not some or not set(some) <= set(users)):
        return False
    return all(any(port in each for each in ports) for port in fewer)


def _holds_all(networks: Sequence[Network], parts: Sequence[Network]) -> bool:
    return all(any(_holds(network, part) for network in networks) for part in parts)


def _holds(network: Network, part: Network) -> bool:
    if isinstance(network, IPv4Network):
        return isinstance(part, IPv4Network) and part.subnet_of(network)
    return isinstance(part, IPv6Network) and part.subnet_of(network)
