"""Why something was denied, in one word, and the rule that comes nearest.

Pure. Knows the policy, the settings and what leases an address has or had; must not know where counts
come from. Keeps: a word is one of `usage.record.Why`, and never empty for what was denied.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple

from dynallow.policy.names import Name
from dynallow.policy.policy import Policy
from dynallow.policy.reserved import reserved
from dynallow.settings import Destination, RuleSettings, Settings
from dynallow.settings.force import DNS_PORTS
from dynallow.usage.record import Why

TCP: Final = 6
UDP: Final = 17
_PROTOCOLS: Final = {1: "icmp", TCP: "tcp", UDP: "udp", 33: "dccp", 58: "icmpv6", 132: "sctp", 136: "udplite"}
_WITH_PORTS: Final = frozenset((TCP, UDP, 33, 132, 136))


class Flow(NamedTuple):
    """Whereto, and whose; `uid` is None where the kernel knows of no socket."""

    address: bytes
    protocol: int
    port: int
    uid: int | None


class Held(NamedTuple):
    """What is known of an address: the rules with a live lease of it; those that had one; the last name."""

    live: Sequence[str] = ()
    lapsed: Sequence[str] = ()
    name: str = ""
    unlisted: bool = False
    """The name is one that no rule allows: it was told because observing lets it pass."""


class Openers(NamedTuple):
    """What opens addresses, looked up a thousand times a second."""

    rules: dict[str, RuleSettings]
    """By name, in the order of the settings."""
    destinations: tuple[Destination, ...]


def openers_of(settings: Settings) -> Openers:
    """Those of the settings."""
    return Openers({rule.name: rule for rule in settings.rules}, settings.destinations)


def port_text(protocol: int, port: int) -> str:
    """ "tcp/443"; "icmp" or the number of what has no ports."""
    known = _PROTOCOLS.get(protocol, str(protocol))
    return f"{known}/{port}" if protocol in _WITH_PORTS else known


def of_question(policy: Policy, name: Name, qtype: int, filtered: bool, wall: float) -> tuple[Why, str]:
    """Why a question was denied or filtered, and the rule that lists the name."""
    if not filtered and reserved(name) is not None:
        return "reserved", ""
    traces = policy.explain(name, qtype, wall)
    if filtered:
        return "type", next((one.rule.name for one in traces if one.outcome == "filtered"), "")
    for outcome in ("excepted", "expired"):
        for one in traces:
            if one.outcome == outcome:
                return outcome, one.rule.name
    return "not-listed", ""


def of_flow(openers: Openers, flow: Flow, held: Held) -> tuple[Why, str]:
    """Why a flow was denied, and the rule or destination that opens its address to others or otherwise."""
    if flow.protocol in (TCP, UDP) and flow.port in DNS_PORTS:
        return "dns", ""
    near: list[RuleSettings | Destination] = [*_destinations(openers, flow.address)]
    near += [openers.rules[rule] for rule in held.live if rule in openers.rules]
    for opener in near:
        if opener.users and flow.uid not in opener.users and _opens(opener, flow):
            return "user", opener.name
    for opener in near:
        if not _opens(opener, flow):
            return "port", opener.name
    if near:  # opened by now, or in the moment between
        return "lapsed", near[0].name
    if held.lapsed:
        return "lapsed", held.lapsed[0]
    return ("name" if held.unlisted else "no-name"), ""


def allowing(openers: Openers, flow: Flow, held: Held) -> str:
    """The destination or rule that let a flow pass, the first that the chain comes to; "" for none known."""
    for opener in _destinations(openers, flow.address):
        if _allows(opener, flow):
            return opener.name
    for holders in (held.live, held.lapsed):
        # The ledger tells holders in the order of the settings, as the chain has them.
        for name in holders:
            rule = openers.rules.get(name)
            if rule is not None and _allows(rule, flow):
                return name
    return ""


def _destinations(openers: Openers, address: bytes) -> list[Destination]:
    if not openers.destinations:
        return []
    packed = ip_address(address)
    return [
        destination
        for destination in openers.destinations
        if any(packed in network for network in destination.addresses)
    ]


def _opens(opener: RuleSettings | Destination, flow: Flow) -> bool:
    """Whether its ports have the flow's, whoever it is of."""
    protocol = _PROTOCOLS.get(flow.protocol)
    return any(port.protocol == protocol and port.first <= flow.port <= port.last for port in opener.ports)


def _allows(opener: RuleSettings | Destination, flow: Flow) -> bool:
    return _opens(opener, flow) and (not opener.users or flow.uid in opener.users)
