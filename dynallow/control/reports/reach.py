"""What the table makes of a packet that somebody asks about: a port, a range of them, or none named.

Knows the ruleset and the walk through it. Keeps: a range counts as open where every port in it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

from dynallow.control.reports.explain_parts import Asked
from dynallow.control.schema import ExplainedDecision
from dynallow.firewall import ruleset as rs
from dynallow.firewall.text import render_rule
from dynallow.firewall.walk import Decision, Members, Packet, turning_points, walk
from dynallow.settings import Destination, Settings
from dynallow.settings.force import DNS_PORTS
from dynallow.units import PortRange

# Two addresses that are nobody's (RFC 5737, RFC 3849): what holds for them holds for any in the rule's sets.
_STAND_INS = (ip_address("192.0.2.1").packed, ip_address("2001:db8::1").packed)


@dataclass(frozen=True, slots=True)
class Reach:
    """The table, and who is in which of its sets."""

    table: rs.Ruleset
    members: Members
    own: bool = False
    """The address is one of this host's."""

    def look(self, address: bytes, asked: Asked, openings: Iterable[PortRange]) -> tuple[Packet, Decision]:
        """What decides: of a range the first port that is not open; of no port the first that is.

        `openings` are the ports that rules open: where none is named, those are tried.
        """
        first: tuple[Packet, Decision] | None = None
        for protocol, port in self._tried(asked, openings):
            packet = Packet(address, protocol, port, asked.user, self.own)
            tried = packet, walk(self.table, packet, self.members)
            first = first or tried
            if tried[1].open is (asked.port is None):
                return tried
        assert first is not None  # one at least is tried
        return first

    def _tried(self, asked: Asked, openings: Iterable[PortRange]) -> Iterator[tuple[str, int | None]]:
        if asked.protocol:
            yield asked.protocol, None
            return
        for span in [asked.port] if asked.port is not None else [*openings, PortRange("tcp", 443, 443)]:
            points = {span.first, *turning_points(self.table, span.protocol)}
            yield from ((span.protocol, port) for port in sorted(points) if span.first <= port <= span.last)


def lets(table: rs.Ruleset, rule: str, asked: Asked, ports: Iterable[PortRange]) -> bool:
    """Whether an address in the rule's sets, whichever, is open on the port that was asked about."""
    sets = {rs.set_name(rule, 4), rs.set_name(rule, 6)}
    reach = Reach(table, lambda name, _: name in sets)
    return all(reach.look(address, asked, ports)[1].open for address in _STAND_INS)


def decided(decision: Decision, packet: Packet, settings: Settings) -> ExplainedDecision:
    """The line that decides, and whose it is. `where` is filled in by whoever reads the files."""
    line = decision.rule
    told: ExplainedDecision = {
        "by": "nothing",
        "name": "",
        "where": None,
        "chain": decision.chain,
        "nft": "" if line is None else render_rule(line),
    }
    for match in () if line is None else line.matches:
        match match:
            case rs.InSet(name):
                told["by"], told["name"] = "rule", name[:-3]
            case rs.Test("oif"):
                told["by"] = "loopback"
            case rs.Test("th dport"):
                told["by"] = "dns"
            case rs.ToNetworks() if decision.open:
                told["by"], told["name"] = "destination", _destination(packet, settings)
    if decision.open and told["by"] == "nothing":
        told["by"] = "loopback"  # the one other thing that is accepted of an ordinary program
    return told


def covers(destination: Destination, address: bytes) -> bool:
    """Whether it names the address."""
    its = ip_address(address)
    return any(network.version == its.version and its in network for network in destination.addresses)


def _destination(packet: Packet, settings: Settings) -> str:
    """Which one opens it: the first that fits, as in the chain."""
    for one in settings.destinations:
        if (
            covers(one, packet.address)
            and any(
                port.protocol == packet.protocol and port.first <= (packet.port or 0) <= port.last
                for port in one.ports
            )
            and (packet.user is None or not one.users or packet.user in one.users)
        ):
            return one.name
    return ""


def is_dns(port: PortRange | None) -> bool:
    """Whether the range holds a port that dynallow alone may ask others on."""
    return port is not None and any(port.first <= dns <= port.last for dns in DNS_PORTS)


def system_notes(address: bytes, port: PortRange | None) -> list[str]:
    """What the chain lets through to such an address for IP itself, whoever asks."""
    its = ip_address(address)
    if isinstance(its, IPv4Address):
        if port is not None and port.protocol == "udp" and port.first <= 67 <= port.last:
            return ["DHCP itself passes: udp/67, from port 68"]
        return []
    notes = []
    if its.is_link_local or its.is_multicast:
        notes.append(
            "what IPv6 itself sends there passes: neighbour discovery, MLD, and DHCPv6 from port 546"
        )
    return notes
