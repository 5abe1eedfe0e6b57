"""What, beside a lease that was taken away, lets a flow to an address go on. Pure.

Knows settings, leases and where the agent's servers are; must not know how flows are found or ended.
Keeps: it errs to the strict side. A flow that is wrongly taken for unjustified is judged packet by packet
from then on, and so goes on where a rule lets it; the other way round it would go on without one.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import NamedTuple

from dynallow.firewall.build import AGENT_MARK, Way
from dynallow.firewall.flows import TCP, UDP, Flow
from dynallow.firewall.sock_destroy import Held
from dynallow.lease.ledger import Ledger
from dynallow.settings import Settings
from dynallow.units import PortRange, Protocol

_NUMBERS: dict[Protocol, int] = {"tcp": TCP, "udp": UDP}


class Opening(NamedTuple):
    """Ports of an address that something keeps open."""

    protocol: int
    first: int
    last: int
    users: frozenset[int] = frozenset()
    """Whose sockets alone; empty for everybody's."""
    mark: int = 0
    """With this mark alone; 0 for any."""


Openings = dict[bytes, tuple[Opening, ...]]


def openings(
    addresses: Iterable[bytes], settings: Settings, ways: Iterable[Way], ledger: Ledger, now: float
) -> Openings:
    """What is open of each address, by live leases, destinations and the agent's own upstreams."""
    rules = {rule.name: _of(rule.ports, frozenset(rule.users)) for rule in settings.rules}
    destinations = [
        (destination.addresses, _of(destination.ports, frozenset(destination.users)))
        for destination in settings.destinations
    ]
    servers: dict[bytes, list[Opening]] = {}
    for endpoint, protocol in ways:
        own = Opening(_NUMBERS[protocol], endpoint.port, endpoint.port, mark=AGENT_MARK)
        servers.setdefault(endpoint.address.packed, []).append(own)
    found: Openings = {}
    for packed in addresses:
        opened = list(servers.get(packed, ()))
        for rule, _ in ledger.at(packed, now):
            opened += rules.get(rule, ())
        if destinations:
            address = ip_address(packed)
            for networks, theirs in destinations:
                if any(network.version == address.version and address in network for network in networks):
                    opened += theirs
        found[packed] = tuple(opened)
    return found


def is_justified(flow: Flow, opened: Iterable[Opening], held: Held | None) -> bool:
    """Whether one of the openings lets a flow go on; `held` is its socket, None where none is known.

    A closed socket of the agent's cannot be told from another's: its server's port is enough then.
    """
    for protocol, first, last, users, mark in opened:
        if protocol != flow.protocol or not first <= flow.port <= last:
            continue
        if users and (held is None or held.uid not in users):
            continue
        if mark and held is not None and held.mark != mark:
            continue
        return True
    return False


def _of(ports: Iterable[PortRange], users: frozenset[int]) -> tuple[Opening, ...]:
    return tuple(Opening(_NUMBERS[port.protocol], port.first, port.last, users) for port in ports)
