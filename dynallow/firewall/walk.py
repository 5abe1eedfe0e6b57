"""What the table makes of the first packet of a flow: the ruleset read as the kernel reads it.

Pure: a `Ruleset` and a packet that nobody sent go in, the line that decides comes out. Knows neither
settings nor leases: who is in which set is an argument. For people who ask why, never for a decision.

Keeps: the same value that is loaded into the kernel is read here, so that what is said of a packet
cannot part from what becomes of it (`tests/netns/test_explained.py` sends it). A statement that is no
verdict is passed over, and so is a rule that tests what such a packet does not have.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from typing import Literal, NamedTuple

from dynallow.firewall import ruleset as rs
from dynallow.firewall.fields import FIELDS

Fate = Literal["accepted", "reset", "rejected", "dropped", "passed", "turned"]
"""`passed`: counted as denied, and let through (mode observe); `turned`: to dynallow's own listener."""

_EPHEMERAL = 49152
"""Source port of a program that asks for none (RFC 6335 section 6): never that of DHCP."""
_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "ipv6-icmp": 58}


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a flow of an ordinary program here.

    `user` None stands for a user who may, if any may; `own`: the address is one of this host's.
    """

    address: bytes
    protocol: str
    """"tcp", "udp", or another by nft's word or its number."""
    port: int | None
    user: int | None = None
    own: bool = False

    @property
    def family(self) -> rs.Family:
        """4 or 6."""
        return rs.family_of(self.address)


class Decision(NamedTuple):
    """What becomes of it, and the line of `chain` that decides, or that led to a denial; None: the policy."""

    fate: Fate
    rule: rs.Rule | None
    chain: str

    @property
    def open(self) -> bool:
        """Whether something allows it."""
        return self.fate == "accepted"


Members = Callable[[str, bytes], bool]
"""Whether the set of that name holds the address."""


def walk(table: rs.Ruleset, packet: Packet, members: Members) -> Decision:
    """The fate of a packet that belongs to no flow yet."""
    chains = {chain.name: chain for chain in table.chains}
    facts = _facts(packet)
    nat = chains.get(rs.NAT_OUTPUT)
    turned = nat and _run(nat, chains, packet, facts, members)
    if turned and isinstance(turned.statement, rs.Redirect):
        return Decision("turned", turned.rule, turned.chain)
    end = _run(chains[rs.OUTPUT], chains, packet, facts, members)
    match end.statement:
        case rs.Accept():
            if end.chain == rs.USED:  # where it is counted: what led there is what allows it
                return Decision("accepted", end.way, rs.OUTPUT)
            return Decision("accepted", end.rule, end.chain)
        case rs.Reset():
            return Decision("reset", end.way, rs.OUTPUT)
        case rs.Reject():
            return Decision("rejected", end.way, rs.OUTPUT)
        case rs.Drop():
            return Decision("dropped", end.way, rs.OUTPUT)
    hook = chains[rs.OUTPUT].hook
    drops = hook is not None and hook.policy == "drop"
    return Decision("dropped" if drops else "passed", end.way, rs.OUTPUT)


class _End(NamedTuple):
    """The statement that ended it; None: nothing did. `way` is the rule of the first chain that led there."""

    statement: rs.Statement | None
    rule: rs.Rule | None
    way: rs.Rule | None
    chain: str


def _run(
    chain: rs.Chain,
    chains: dict[str, rs.Chain],
    packet: Packet,
    facts: dict[str, int | None],
    members: Members,
) -> _End:
    for rule in chain.rules:
        statement = rule.statement
        if not isinstance(statement, _ENDING) or not _matches(rule, packet, facts, members):
            continue
        if isinstance(statement, rs.Return):
            return _End(None, rule, rule, chain.name)
        if isinstance(statement, rs.Jump | rs.Goto):
            end = _run(chains[statement.chain], chains, packet, facts, members)
            if end.statement is not None or isinstance(statement, rs.Goto):
                return end._replace(way=rule)
            continue
        return _End(statement, rule, rule, chain.name)
    return _End(None, None, None, chain.name)


_ENDING = (rs.Accept, rs.Drop, rs.Reject, rs.Reset, rs.Return, rs.Jump, rs.Goto, rs.Redirect)


def _facts(packet: Packet) -> dict[str, int | None]:
    """The packet's fields as numbers; None and absent: it has no such field."""
    is_4 = packet.family == 4
    address = ip_address(packet.address)
    # A connect to no address in particular is one to this host.
    inside = packet.own or address.is_loopback or address.is_unspecified
    protocol = _PROTOCOLS.get(packet.protocol)
    with_ports = packet.protocol in ("tcp", "udp")
    return {
        "meta nfproto": FIELDS["meta nfproto"].words["ipv4" if is_4 else "ipv6"],
        "meta l4proto": int(packet.protocol) if protocol is None else protocol,
        "meta mark": 0,
        "oif": 1 if inside else 2,
        "ct state": 1 << 3,  # new (NF_CT_STATE_BIT)
        "ct direction": 0,
        "ct mark": 0,
        "ct status": 0,
        "fib saddr type": FIELDS["fib saddr type"].words["local"],
        "fib daddr type": FIELDS["fib daddr type"].words["local"] if inside else 1,
        "th dport": packet.port if with_ports else None,
        "tcp dport": packet.port if packet.protocol == "tcp" else None,
        "udp dport": packet.port if packet.protocol == "udp" else None,
        "udp sport": _EPHEMERAL if packet.protocol == "udp" else None,
        # Its own, whichever: only compared with none at all.
        "ip saddr": int(IPv4Address("127.0.0.1")) if is_4 else None,
        "ip6 saddr": None if is_4 else 1,
    }


def _matches(rule: rs.Rule, packet: Packet, facts: dict[str, int | None], members: Members) -> bool:
    return all(_match(match, packet, facts, members) for match in rule.matches)


def _match(match: rs.Match, packet: Packet, facts: dict[str, int | None], members: Members) -> bool:
    match match:
        case rs.InSet(name, family):
            return family == packet.family and members(name, packet.address)
        case rs.ToNetworks(networks):
            address = ip_address(packet.address)
            return any(address in network for network in networks if network.version == address.version)
        case rs.ToPorts(ports):
            return any(
                each.protocol == packet.protocol and each.first <= (packet.port or 0) <= each.last
                for each in ports
            )
        case rs.ByUsers(uids):
            return packet.user is None or packet.user in uids
        case rs.Test(field, values, negated):
            fact = facts.get(field)
            return fact is not None and _holds(field, values, fact) is not negated
    return False


def _holds(field: str, values: Iterable[str | int], fact: int) -> bool:
    known = FIELDS[field]
    order: Literal["little", "big"] = sys.byteorder if known.host_order else "big"
    numbers = [int.from_bytes(known.value(value), order) for value in values]
    return any(fact & number if known.bits else fact == number for number in numbers)


def turning_points(table: rs.Ruleset, protocol: str) -> list[int]:
    """The ports at which something may begin to be said, in order; 1 is the first."""
    points = {1}
    for chain in table.chains:
        for rule in chain.rules:
            for match in rule.matches:
                if isinstance(match, rs.ToPorts):
                    for each in match.ports:
                        if each.protocol == protocol:
                            points |= {each.first, each.last + 1}
                elif isinstance(match, rs.Test) and match.field.endswith("dport"):
                    for port in match.values:
                        points |= {int(port), int(port) + 1}
    return sorted(point for point in points if point <= 0xFFFF)
