"""The ruleset as nft text.

Pure. `render_table` prints exactly what `nft -s list table inet dynallow`
shows once it is loaded; `render_load` wraps it into the one transaction that
takes the kernel there from whatever it holds now.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from dynallow.firewall import ruleset as rs


@dataclass(frozen=True, slots=True)
class PresentSet:
    """A set that the kernel has now."""

    name: str
    key_bytes: int
    size: int


@dataclass(frozen=True, slots=True)
class Present:
    """What the kernel has of the table now."""

    sets: tuple[PresentSet, ...] = ()
    chains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Carried:
    """An element that must live on in a set that is made anew."""

    set_name: str
    address: bytes
    expires_ms: int
    comment: str


def render_table(table: rs.Ruleset) -> str:
    """The table's declaration."""
    lines = [f"table inet {rs.TABLE} {{"]
    blocks = [[f"counter {name} {{", "}"] for name in table.counters]
    blocks += [_set(declared) for declared in table.sets]
    blocks += [_chain(chain) for chain in table.chains]
    for number, block in enumerate(blocks):
        lines += [""] * (number > 0) + ["\t" + line for line in block]
    return "\n".join([*lines, "}"]) + "\n"


def render_load(table: rs.Ruleset, present: Present, carried: Iterable[Carried] = ()) -> str:
    """The transaction that replaces chains and rules and keeps the sets that stay.

    Sets of rules that went are deleted; a set whose size changed is made anew
    with its elements. nft runs it as a whole or not at all (invariant 9).
    """
    wanted = {declared.name: declared for declared in table.sets}
    chains = {chain.name for chain in table.chains}
    lines = [f"table inet {rs.TABLE} {{", "}"]
    lines += [f"flush chain inet {rs.TABLE} {name}" for name in present.chains]
    lines += [f"delete chain inet {rs.TABLE} {name}" for name in present.chains if name not in chains]
    lines += [
        f"delete set inet {rs.TABLE} {old.name}"
        for old in present.sets
        if old.name not in wanted or not _same(old, wanted[old.name])
    ]
    lines += [render_table(table).rstrip()]
    lines += [
        f"add element inet {rs.TABLE} {element.set_name} {{ {_carried(element)} }}"
        for element in carried
        if element.set_name in wanted
    ]
    return "\n".join(lines) + "\n"


def remade(table: rs.Ruleset, present: Present) -> list[str]:
    """The sets that stay by name but must be made anew: their elements need carrying."""
    wanted = {declared.name: declared for declared in table.sets}
    return [old.name for old in present.sets if old.name in wanted and not _same(old, wanted[old.name])]


def _same(old: PresentSet, new: rs.AddressSet) -> bool:
    return old.size == new.size and old.key_bytes == (4 if new.family == 4 else 16)


def _carried(element: Carried) -> str:
    comment = f' comment "{element.comment}"' if element.comment else ""
    milliseconds = max(element.expires_ms, 1)
    return f"{ip_address(element.address)} timeout {milliseconds}ms expires {milliseconds}ms{comment}"


def _set(declared: rs.AddressSet) -> list[str]:
    lines = [
        f"set {declared.name} {{",
        f"\ttype {'ipv4_addr' if declared.family == 4 else 'ipv6_addr'}",
        f"\tsize {declared.size}",
        "\tflags timeout",
    ]
    return [*lines, *["\tcounter"] * declared.counter, "}"]


def _chain(chain: rs.Chain) -> list[str]:
    lines = [f"chain {chain.name} {{"]
    if chain.hook is not None:
        hook = chain.hook
        lines.append(f"\ttype {hook.type} hook output priority {hook.priority}; policy {hook.policy};")
    return [*lines, *("\t" + _rule(rule) for rule in chain.rules), "}"]


def _rule(rule: rs.Rule) -> str:
    parts = [_match(match) for match in rule.matches]
    parts.append(_statement(rule.statement))
    if rule.comment:
        parts.append(f'comment "{rule.comment}"')
    return " ".join(parts)


def _match(match: rs.Match) -> str:
    match match:
        case rs.InSet(name, family):
            return f"{_address_word(family)} daddr @{name}"
        case rs.ToNetworks(networks):
            ordered = sorted(networks, key=lambda network: (network.network_address, network.prefixlen))
            texts = [
                str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
                for network in ordered
            ]
            return f"{_address_word(networks[0].version)} daddr {_one_or_set(texts)}"
        case rs.ToPorts(ports):
            texts = [
                str(ports_of.first)
                if ports_of.first == ports_of.last
                else f"{ports_of.first}-{ports_of.last}"
                for ports_of in sorted(ports)
            ]
            return f"{ports[0].protocol} dport {_one_or_set(texts)}"
        case rs.ByUsers(uids):
            return f"meta skuid {_one_or_set([str(uid) for uid in sorted(set(uids))])}"
        case rs.Raw(text):
            return text


def _statement(statement: rs.Statement) -> str:
    match statement:
        case rs.Accept():
            return "accept"
        case rs.Drop():
            return "drop"
        case rs.Reject():
            return "reject with icmpx admin-prohibited"
        case rs.Reset():
            return "reject with tcp reset"
        case rs.Return():
            return "return"
        case rs.Goto(chain):
            return f"goto {chain}"
        case rs.Count(counter):
            return f'counter name "{counter}"'
        case rs.Log(rate, prefix, group):
            return f'limit rate {rate} burst {rate.count} packets log prefix "{prefix}" group {group}'
        case rs.Redirect(port):
            return f"redirect to :{port}"


def _address_word(version: int) -> str:
    return "ip" if version == 4 else "ip6"


def _one_or_set(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{{ {', '.join(texts)} }}"
