"""The static ruleset as a value: sets, chains, rules.

Pure data; `build.py` makes it from the settings, `text.py` prints it, `encode.py` packs it. Only
what dynallow needs of nftables has a type here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from dynallow.units import PortRange, Rate

TABLE = "dynallow"
OUTPUT, STANDING, NAT_OUTPUT, REDIRECTED, DENIED = "output", "standing", "nat_output", "redirected", "denied"
USED, NOTED, TALLIED = "used", "noted", "tallied"
DENIED_COUNTER = "denied"
REVOKED = "revoked"
USED_FLOWS, DENIED_FLOWS = "used_flows", "denied_flows"
"""The sets that count: no rule's name has an underscore, so that no rule's set is called so."""

NO_PROTOCOL, NO_PORT, NO_USER = 255, 0, 0xFFFFFFFF
"""What stands in a flow for what it has not, or nobody can tell: reserved by IANA, no port, no uid."""

Family = Literal[4, 6]
Network = IPv4Network | IPv6Network


def set_name(rule: str, family: Family) -> str:
    """The set that holds a rule's addresses of one family."""
    return f"{rule}_v{family}"


def family_of(address: bytes) -> Family:
    """The family of a packed address."""
    return 4 if len(address) == 4 else 6


@dataclass(frozen=True, slots=True)
class AddressSet:
    """A timeout-bound hash set. Never `interval`: neighbours would share one timeout."""

    name: str
    family: Family
    size: int | None
    """Most elements; None leaves the kernel's own bound, memory."""
    counter: bool


@dataclass(frozen=True, slots=True)
class FlowSet:
    """Counters by destination address, protocol, destination port and uid, filled by rules (`Tally`).

    A hash set too; its elements lapse when they have not been counted for `lasts_s`.
    """

    name: str
    family: Family
    size: int
    lasts_s: int
    collected_every_s: int
    """How often the kernel looks for what has lapsed."""


# ------------------------------------------------------------------ matches


@dataclass(frozen=True, slots=True)
class InSet:
    """The destination address is in a set."""

    name: str
    family: Family


@dataclass(frozen=True, slots=True)
class ToNetworks:
    """The destination address is in one of these prefixes of one family."""

    networks: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class ToPorts:
    """The protocol and destination ports; all of one protocol."""

    ports: tuple[PortRange, ...]


@dataclass(frozen=True, slots=True)
class ByUsers:
    """The sending socket belongs to one of these uids."""

    uids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Test:
    """A field of the packet has one of these values (`negated`: none of them), in nft's own words."""

    field: str
    """A key of `fields.FIELDS`."""
    values: tuple[str | int, ...]
    negated: bool = False


Match = InSet | ToNetworks | ToPorts | ByUsers | Test


# ------------------------------------------------------------------ statements


@dataclass(frozen=True, slots=True)
class Accept:
    """Let the packet go."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Lose the packet without a word."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse with ICMP admin-prohibited: a connect returns at once instead of hanging."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Refuse with a TCP reset."""


@dataclass(frozen=True, slots=True)
class Return:
    """Back to the caller, or to the policy of a base chain."""


@dataclass(frozen=True, slots=True)
class Jump:
    """Look into another chain, and come back if that decides nothing."""

    chain: str


@dataclass(frozen=True, slots=True)
class Goto:
    """Go on in another chain."""

    chain: str


@dataclass(frozen=True, slots=True)
class Count:
    """Add to a named counter."""

    counter: str


@dataclass(frozen=True, slots=True)
class Log:
    """Send the packet to NFLOG, in the long run at most at `rate`."""

    rate: Rate
    prefix: str
    group: int
    burst: int
    """So many at once, where there were none for long."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """To this host's loopback address, at `port`."""

    port: int


@dataclass(frozen=True, slots=True)
class Tally:
    """Count the packet in a flow set, then do as `then` says.

    Where it cannot be counted (the set is full, or what the key asks for cannot be told), the rule ends
    before `then`: the next one is for that.
    """

    flows: str
    family: Family
    then: Accept | Return
    protocol: bool = True
    """Tell protocol, port and user; else `NO_PROTOCOL`, `NO_PORT`, `NO_USER` stands there."""
    port: bool = True
    user: bool = True


Statement = Accept | Drop | Reject | Reset | Return | Jump | Goto | Count | Log | Redirect | Tally


@dataclass(frozen=True, slots=True)
class Rule:
    """Matches that must all hold, then one statement."""

    matches: tuple[Match, ...]
    statement: Statement
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Hook:
    """Where a base chain sits in the kernel's packet path."""

    type: Literal["filter", "nat"]
    priority: str
    policy: Literal["accept", "drop"]
    at: Literal["output", "postrouting"] = "output"


@dataclass(frozen=True, slots=True)
class Chain:
    """Rules in order; with a hook a base chain."""

    name: str
    rules: tuple[Rule, ...]
    hook: Hook | None = None


@dataclass(frozen=True, slots=True)
class Ruleset:
    """All of `table inet dynallow` but the elements."""

    counters: tuple[str, ...]
    sets: tuple[AddressSet, ...]
    chains: tuple[Chain, ...]
    flow_sets: tuple[FlowSet, ...] = ()


def uncounted(table: Ruleset) -> Ruleset:
    """The same without counting by flows: what is let through and what is refused is no other."""
    if not table.flow_sets:
        return table

    def plain(rule: Rule) -> list[Rule]:
        match rule.statement:
            case Goto(chain) if chain == USED:
                return [replace(rule, statement=Accept())]
            case Jump(chain) if chain == TALLIED:
                return []
        return [rule]

    chains = tuple(
        replace(chain, rules=tuple(one for rule in chain.rules for one in plain(rule)))
        for chain in table.chains
        if chain.name not in (USED, TALLIED)
    )
    return replace(table, chains=chains, flow_sets=())


def spans(networks: tuple[Network, ...]) -> list[tuple[int, int]]:
    """The networks as nft has them, (first, last): neighbours joined, but where all are single addresses."""
    ordered = sorted((int(net.network_address), int(net.broadcast_address)) for net in networks)
    return _joined(ordered) if any(first != last for first, last in ordered) else ordered


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined = spans[:1]
    for first, last in spans[1:]:
        if first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined
