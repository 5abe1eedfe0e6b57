"""From the settings to the ruleset.

Pure: the settings, the ways to the upstream servers and the agent's uid go in,
a `Ruleset` comes out. The order of `chain output` is what keeps it closed, and
everything that leads to an accept names protocol and ports: `ip daddr @set accept`
alone would let ICMP payloads and GRE out as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses, ip_network
from itertools import groupby

from dynallow.firewall import ruleset as rs
from dynallow.settings.force import DNS_PORTS
from dynallow.settings.model import Destination, RuleSettings, Settings
from dynallow.units import Address, Endpoint, PortRange, Protocol, Rate

JUDGED_MARK = 0x64796E6A
"""Conntrack mark of a flow that does not count as established ("dynj")."""

AGENT_MARK = 0x64796E61
"""SO_MARK of the agent's own sockets ("dyna"); setting a mark takes a capability."""

LOG_PREFIX = "dynallow denied "
_BURST, _BURST_MAX = 20, 1000
"""Packets logged at once are so many times the rate's, 1,000 by default: what a program tries when it is
started, or a thousand short-lived ones, is logged whole; a flood takes it once, and then gets the rate."""

FLOWS = 16_384
"""Most flows counted apart, of each family and outcome; a MiB of the kernel's memory in all, empty."""
FLOWS_LAST_S = 5400
"""How long an idle one is kept: not an hour, or what happens hourly would lapse just as it comes again."""
_COLLECTED_EVERY_S = 60  # each second by default: four timers more that would wake an idle host
REVOKED_S = 600
"""How long an address stays in the revoked sets: longer than any retry of a cut flow matters."""

_FAMILIES: tuple[rs.Family, ...] = (4, 6)
_IPV4 = rs.Test("meta nfproto", ("ipv4",))
_IPV6 = rs.Test("meta nfproto", ("ipv6",))
_TCP_OR_UDP = rs.Test("meta l4proto", ("tcp", "udp"))
_WITH_PORTS = rs.Test("meta l4proto", ("tcp", "udp", "dccp", "sctp", "udplite"))
_ESTABLISHED = rs.Test("ct state", ("established",))
_ON_LOOPBACK = rs.Test("oif", ('"lo"',))
_NOT_ON_LOOPBACK = rs.Test("oif", ('"lo"',), negated=True)
# RFC 4890 section 4.4.1: what a host must be able to send on its link. Sent with hop limit 255
# (ND) or to the link (MLD), so none of it gets past the next router.
_NEIGHBOUR_DISCOVERY = (
    rs.Test("icmpv6 type", ("nd-router-solicit", "nd-neighbor-solicit", "nd-neighbor-advert")),
    rs.Test("ip6 hoplimit", (255,)),
)
_MULTICAST_LISTENER = (
    rs.Test("icmpv6 type", ("mld-listener-report", "mld-listener-done", "mld2-listener-report")),
    rs.Test("ip6 hoplimit", (1,)),
)
_DHCP = (_IPV4, rs.Test("udp sport", (68,)), rs.Test("udp dport", (67,)))
_DHCP6 = (
    rs.ToNetworks((IPv6Network("fe80::/10"), IPv6Network("ff02::1:2"))),
    rs.Test("udp sport", (546,)),
    rs.Test("udp dport", (547,)),
)
# A route inside the packet: to an approved address, and on from there (LSRR, SSRR, SRv6). Looked
# at before `established`, because a flow may take to it later.
_DETOURS = tuple(rs.Test(field, ("exists",)) for field in ("exthdr rt", "ip option lsrr", "ip option ssrr"))
# A source that is not this host's (any user may claim one: IPV6_FREEBIND, IP_FREEBIND). Whatever
# answers such a packet, the agent or a reject, would carry its words out to that address. Related
# is the reset that `reject` sends to this host in the name of the far end.
_FOREIGN = rs.Test("fib saddr type", ("local",), negated=True)
_FOREIGN_SOURCE = tuple(
    (
        rs.Test("ct state", ("established", "related"), negated=True),
        rs.Test(field, (unspecified,), negated=True),
        _FOREIGN,
    )
    for field, unspecified in (("ip saddr", str(IPv4Address(0))), ("ip6 saddr", str(IPv6Address(0))))
)
_COMMENT_BYTES = 120  # nft takes 128 with its NUL

Way = tuple[Endpoint, Protocol]
"""Where an upstream server is, and over what it is asked."""


def build_ruleset(settings: Settings, upstreams: Iterable[Way], agent_uid: int) -> rs.Ruleset:
    """The whole table for these settings.

    `upstreams` are the servers that the agent itself may ask; `agent_uid` is
    the user it runs as (0 adds nothing: root is not one program).
    """
    budget = settings.lease.max_per_rule
    # Lapsed elements that were not collected yet still count against an nft set's size, so it
    # gets twice the budget; admissions are counted in the ledger.
    # The revoked sets must take all that all rules can lose at once; only an administrator's act
    # fills them, and the kernel sizes its table by this number from the start.
    sets = [rs.AddressSet(rs.set_name(rs.REVOKED, family), family, None, False) for family in (4, 6)]
    for rule in settings.rules:
        sets += [rs.AddressSet(rs.set_name(rule.name, f), f, 2 * budget, True) for f in (4, 6)]
    agent = _agent_socket(agent_uid)
    output = _output(settings, sorted(set(upstreams), key=_place), agent)
    chains = [output, _STANDING, _USED, _denied(settings), _noted(settings), _TALLIED]
    if settings.mode == "enforce" and settings.firewall.dns == "redirect":
        chains += [_nat_output(settings.resolver.listen, agent), _REDIRECTED]
    return rs.Ruleset((rs.DENIED_COUNTER,), tuple(sets), tuple(chains), _FLOW_SETS)


def _agent_socket(uid: int) -> tuple[rs.Match, ...]:
    mark = rs.Test("meta mark", (f"0x{AGENT_MARK:08x}",))
    return (mark, rs.ByUsers((uid,))) if uid else (mark,)


def _output(settings: Settings, upstreams: Sequence[Way], agent: tuple[rs.Match, ...]) -> rs.Chain:
    rules = [
        *(rs.Rule((detour,), rs.Goto(rs.DENIED)) for detour in _DETOURS),
        # Most packets end here. Not DNS: a flow that began before enforcing, or that its server
        # keeps alive, would carry questions past the policy for ever.
        rs.Rule(
            (_ESTABLISHED, _TCP_OR_UDP, rs.Test("th dport", DNS_PORTS, negated=True)), rs.Jump(rs.STANDING)
        ),
        *(rs.Rule(foreign, rs.Goto(rs.DENIED)) for foreign in _FOREIGN_SOURCE),
        rs.Rule((_ON_LOOPBACK,), rs.Accept()),
        # What nat_output has turned to this host still carries the old interface here.
        rs.Rule((rs.Test("ct status", ("dnat",)), rs.Test("fib daddr type", ("local",))), rs.Accept()),
        *(_upstream(way, agent) for way in upstreams),
        rs.Rule((_TCP_OR_UDP, rs.Test("th dport", DNS_PORTS)), rs.Goto(rs.DENIED)),
        rs.Rule((_ESTABLISHED,), rs.Jump(rs.STANDING)),
        rs.Rule(
            (rs.Test("ct state", ("related",)), rs.Test("meta l4proto", ("icmp", "ipv6-icmp"))),
            rs.Jump(rs.STANDING),
        ),
        rs.Rule(_NEIGHBOUR_DISCOVERY, rs.Accept()),
        rs.Rule(_MULTICAST_LISTENER, rs.Accept()),
        rs.Rule(_DHCP, rs.Accept(), "DHCP"),
        rs.Rule(_DHCP6, rs.Accept(), "DHCPv6"),
    ]
    for destination in settings.destinations:
        rules += _destination(destination)
    for rule in settings.rules:
        rules += _rule(rule)
    rules.append(rs.Rule((), rs.Goto(rs.DENIED)))
    hook = rs.Hook("filter", "filter", "drop" if settings.mode == "enforce" else "accept")
    return rs.Chain(rs.OUTPUT, tuple(rules), hook)


# Whether it counts that a flow is established. Not when its flow was cut (`cutting.py`), which holds for as
# long as that lives; nor towards an address that lost a lease, because packets come before the cutting: these
# fall back into `output` and are judged by the rules as new ones are, so that what something else opens goes
# on. Flows that others began are not touched: dynallow is about what goes out by itself.
_STANDING = rs.Chain(
    rs.STANDING,
    (
        rs.Rule((rs.Test("ct mark", (f"0x{JUDGED_MARK:08x}",)),), rs.Return()),
        rs.Rule((rs.Test("ct direction", ("reply",)),), rs.Accept()),
        rs.Rule((rs.InSet(rs.set_name(rs.REVOKED, 4), 4),), rs.Return()),
        rs.Rule((rs.InSet(rs.set_name(rs.REVOKED, 6), 6),), rs.Return()),
        rs.Rule((), rs.Accept()),
    ),
)


_FLOW_SETS = tuple(
    rs.FlowSet(rs.set_name(name, family), family, FLOWS, FLOWS_LAST_S, _COLLECTED_EVERY_S)
    for name in (rs.USED_FLOWS, rs.DENIED_FLOWS)
    for family in _FAMILIES
)

# Where rules and destinations lead. That a packet cannot be counted ends only the rule that tries it: the
# last one lets it go in any case. What was established and is judged anew here was counted when it began.
# A kernel's own socket (NFS) has no user.
_USED = rs.Chain(
    rs.USED,
    (
        rs.Rule((_ESTABLISHED,), rs.Accept()),
        *(
            rs.Rule((), rs.Tally(rs.set_name(rs.USED_FLOWS, family), family, rs.Accept(), user=user))
            for family in _FAMILIES
            for user in (True, False)
        ),
        rs.Rule((), rs.Accept()),
    ),
)


def _tallied(family: rs.Family) -> Iterable[rs.Rule]:
    """Every packet in one element, by as much as can be told of it.

    No port: its protocol has none, or it is cut off before it. No user: no socket, or
    the kernel's own. Nor protocol: headers of IPv6 that the kernel cannot follow. In a full set a packet may
    still find an element that tells less.
    """

    def tally(*, protocol: bool = True, port: bool = True, user: bool = True) -> rs.Rule:
        flows = rs.set_name(rs.DENIED_FLOWS, family)
        return rs.Rule(
            (_WITH_PORTS,) if port else (),
            rs.Tally(flows, family, rs.Return(), protocol=protocol, port=port, user=user),
        )

    yield tally()
    yield tally(port=False)
    yield tally(user=False)
    yield tally(port=False, user=False)
    if family == 6:
        yield tally(protocol=False, port=False, user=False)


_TALLIED = rs.Chain(rs.TALLIED, tuple(rule for family in _FAMILIES for rule in _tallied(family)))


def _place(way: Way) -> tuple[str, bool]:
    endpoint, protocol = way
    return str(endpoint), protocol == "tcp"


def _upstream(way: Way, agent: tuple[rs.Match, ...]) -> rs.Rule:
    endpoint, protocol = way
    ports = PortRange(protocol, endpoint.port, endpoint.port)
    return rs.Rule((*agent, _to(endpoint.address), rs.ToPorts((ports,))), rs.Accept(), "upstream")


def _to(address: Address) -> rs.Match:
    return rs.ToNetworks((ip_network(address),))


def _denied(settings: Settings) -> rs.Chain:
    rules = [rs.Rule((), rs.Jump(rs.NOTED))]
    if settings.mode == "enforce":
        rules += _refuse() if settings.firewall.denied == "reject" else [rs.Rule((), rs.Drop())]
    return rs.Chain(rs.DENIED, tuple(rules))


def _noted(settings: Settings) -> rs.Chain:
    """For what is denied, and what `nat_output` turns away, which in observe is denied as well."""
    rate = settings.firewall.log_rate
    rules = (
        rs.Rule((), rs.Log(rate, LOG_PREFIX, settings.firewall.log_group, _burst(rate))),
        rs.Rule((), rs.Count(rs.DENIED_COUNTER)),
        rs.Rule((), rs.Jump(rs.TALLIED)),
    )
    return rs.Chain(rs.NOTED, rules)


def _burst(rate: Rate) -> int:
    return max(rate.count, min(_BURST * rate.count, _BURST_MAX))


def _refuse() -> list[rs.Rule]:
    """So that a connect fails at once.

    TCP gets a reset, not an ICMP error (measured on 6.18): an ICMPv6 error that
    arrives while `connect` still holds the socket is only noted, and acted on
    when the SYN is sent again, 1,020 ms later; and ICMP errors come in bursts of
    50 (sysctl icmp_msgs_burst), so that of 250 connects at once 200 would hang.
    """
    return [
        rs.Rule((_FOREIGN,), rs.Drop()),  # the error would leave this host
        rs.Rule((rs.Test("meta l4proto", ("tcp",)),), rs.Reset()),
        rs.Rule((), rs.Reject()),
    ]


def _nat_output(listen: Sequence[Endpoint], agent: tuple[rs.Match, ...]) -> rs.Chain:
    """Stray DNS to port 53 goes to dynallow's own listener on the loopback address."""
    rules = [rs.Rule(agent, rs.Return()), rs.Rule((_ON_LOOPBACK,), rs.Return())]
    for version, family in ((4, _IPV4), (6, _IPV6)):
        port = _loopback_port(listen, version)
        if port is not None:
            to_53 = (family, _TCP_OR_UDP, rs.Test("th dport", (53,)))
            rules += [rs.Rule(to_53, rs.Jump(rs.NOTED)), rs.Rule(to_53, rs.Redirect(port))]
    return rs.Chain(rs.NAT_OUTPUT, tuple(rules), rs.Hook("nat", "-100", "accept"))


# A socket that is bound to a device (any user may: SO_BINDTODEVICE) keeps to it even when
# `redirect` has turned its packet to loopback; the packet would leave, addressed to 127.0.0.1.
_REDIRECTED = rs.Chain(
    rs.REDIRECTED,
    (
        rs.Rule((_NOT_ON_LOOPBACK, rs.ToNetworks((IPv4Network("127.0.0.0/8"),))), rs.Drop()),
        rs.Rule((_NOT_ON_LOOPBACK, rs.ToNetworks((IPv6Network("::1"),))), rs.Drop()),
    ),
    rs.Hook("filter", "filter", "accept", "postrouting"),
)


def _loopback_port(listen: Sequence[Endpoint], version: int) -> int | None:
    """The port of a listener that `redirect` reaches (it turns to 127.0.0.1 or ::1)."""
    for endpoint in listen:
        address = endpoint.address
        if address.version == version and (str(address) in ("127.0.0.1", "::1") or address.is_unspecified):
            return endpoint.port
    return None


def _destination(destination: Destination) -> Iterable[rs.Rule]:
    comment = _comment(destination.name, destination.reason)
    for family in (4, 6):
        networks = [network for network in destination.addresses if network.version == family]
        if networks:
            collapsed = rs.ToNetworks(tuple(collapse_addresses(networks)))  # type: ignore[type-var]
            yield from _accepts(collapsed, destination.ports, destination.users, comment)


def _rule(rule: RuleSettings) -> Iterable[rs.Rule]:
    comment = _comment(rule.name, rule.reason)
    for family in _FAMILIES:
        address = rs.InSet(rs.set_name(rule.name, family), family)
        yield from _accepts(address, rule.ports, rule.users, comment)


def _accepts(
    address: rs.Match, ports: Iterable[PortRange], users: Sequence[int], comment: str
) -> Iterable[rs.Rule]:
    by_user: tuple[rs.Match, ...] = (rs.ByUsers(tuple(users)),) if users else ()
    for _, group in groupby(merge_ports(ports), key=lambda port: port.protocol):
        yield rs.Rule((address, rs.ToPorts(tuple(group)), *by_user), rs.Goto(rs.USED), comment)


def merge_ports(ports: Iterable[PortRange]) -> list[PortRange]:
    """Sorted, with overlapping and touching ranges joined: nft refuses conflicting intervals."""
    merged: list[PortRange] = []
    for port in sorted(ports):
        last = merged[-1] if merged else None
        if last is not None and last.protocol == port.protocol and port.first <= last.last + 1:
            merged[-1] = PortRange(last.protocol, last.first, max(last.last, port.last))
        else:
            merged.append(port)
    return merged


def _comment(name: str, reason: str) -> str:
    """The rule's name and reason, so that `nft list` explains itself; nft knows no quoting inside."""
    text = f"{name}: {reason}" if reason else name
    printable = "".join(char if char.isprintable() and char not in '"\\' else "'" for char in text)
    return printable.encode()[:_COMMENT_BYTES].decode(errors="ignore")
