"""The ruleset as nft text.

Pure. `render_table` prints exactly what `nft -s list table inet dynallow`
shows once it is loaded; `render_load` wraps it into the one transaction that
takes the kernel there from whatever it holds now.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, summarize_address_range

from dynallow.firewall import ruleset as rs

_COMMENT_ROOM = 128  # with the closing NUL
_DEFAULT_BURST = 5


@dataclass(frozen=True, slots=True)
class SetShape:
    """What two sets must have in common for one to stand for the other."""

    family: rs.Family
    size: int
    counter: bool


@dataclass(frozen=True, slots=True)
class PresentSet:
    """A set that the kernel has now; without a shape it is none that dynallow makes."""

    name: str
    shape: SetShape | None


@dataclass(frozen=True, slots=True)
class PresentChain:
    """A chain that the kernel has now; `hook` is (type, hook number, priority) of a base chain."""

    name: str
    hook: tuple[str, int, int] | None


@dataclass(frozen=True, slots=True)
class Present:
    """What the kernel has of the table now."""

    sets: tuple[PresentSet, ...] = ()
    chains: tuple[PresentChain, ...] = ()


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
    shapes = {declared.name: _shape(declared) for declared in table.sets}
    hooks = {chain.name: _hook_numbers(chain) for chain in table.chains}
    lines = [f"table inet {rs.TABLE} {{", "}"]
    lines += [f"flush chain inet {rs.TABLE} {old.name}" for old in present.chains]
    # A chain that sits where ours does stays: a base chain that is made anew would drop every
    # packet until the transaction ends.
    lines += [
        f"delete chain inet {rs.TABLE} {old.name}"
        for old in present.chains
        if old.name not in hooks or hooks[old.name] != old.hook
    ]
    lines += [
        f"delete set inet {rs.TABLE} {old.name}"
        for old in present.sets
        if old.name not in shapes or shapes[old.name] != old.shape
    ]
    return "\n".join(lines) + "\n" + _declare(table, carried)


def render_anew(table: rs.Ruleset, carried: Iterable[Carried]) -> str:
    """The transaction that throws the whole table away and makes it again, with its elements.

    For leftovers that cannot be mended one by one. For the moment that the
    transaction takes, its new base chain drops every packet.
    """
    name = f"table inet {rs.TABLE}"
    return f"{name} {{\n}}\ndelete {name}\n" + _declare(table, carried)


def _declare(table: rs.Ruleset, carried: Iterable[Carried]) -> str:
    names = {declared.name for declared in table.sets}
    lines = [
        f"add element inet {rs.TABLE} {element.set_name} {{ {_carried(element)} }}\n"
        for element in carried
        if element.set_name in names
    ]
    return render_table(table) + "".join(lines)


def kept(table: rs.Ruleset, present: Present) -> list[rs.AddressSet]:
    """The sets whose elements can go over into the table wanted."""
    shapes = {old.name: old.shape for old in present.sets}
    return [
        declared
        for declared in table.sets
        if (old := shapes.get(declared.name)) is not None and old.family == declared.family
    ]


def remade(table: rs.Ruleset, present: Present) -> list[rs.AddressSet]:
    """Those of the kept sets that must be made anew, because their size or make differs."""
    shapes = {old.name: old.shape for old in present.sets}
    return [declared for declared in kept(table, present) if shapes[declared.name] != _shape(declared)]


def _shape(declared: rs.AddressSet) -> SetShape:
    return SetShape(declared.family, declared.size or 0, declared.counter)


def _hook_numbers(chain: rs.Chain) -> tuple[str, int, int] | None:
    """As the kernel tells it: NF_INET_LOCAL_OUT is 3, POST_ROUTING 4, priority `filter` 0."""
    if chain.hook is None:
        return None
    priority = 0 if chain.hook.priority == "filter" else int(chain.hook.priority)
    return chain.hook.type, 3 if chain.hook.at == "output" else 4, priority


def _carried(element: Carried) -> str:
    text = _quotable(element.comment)
    comment = f' comment "{text}"' if text else ""
    milliseconds = max(element.expires_ms, 1)
    return f"{ip_address(element.address)} timeout {milliseconds}ms expires {milliseconds}ms{comment}"


def _quotable(comment: str) -> str:
    """The comment as far as nft's text can carry it: 127 bytes, and nothing that ends its quotes."""
    if not comment.isascii() or not comment.isprintable() or '"' in comment or "\\" in comment:
        return "..."
    return comment if len(comment) < _COMMENT_ROOM else comment[: _COMMENT_ROOM - 4] + "..."


def _set(declared: rs.AddressSet) -> list[str]:
    lines = [
        f"set {declared.name} {{",
        f"\ttype {'ipv4_addr' if declared.family == 4 else 'ipv6_addr'}",
        *([f"\tsize {declared.size}"] if declared.size else []),
        "\tflags timeout",
    ]
    return [*lines, *["\tcounter"] * declared.counter, "}"]


def _chain(chain: rs.Chain) -> list[str]:
    lines = [f"chain {chain.name} {{"]
    if chain.hook is not None:
        hook = chain.hook
        lines.append(f"\ttype {hook.type} hook {hook.at} priority {hook.priority}; policy {hook.policy};")
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
            return f"{_address_word(networks[0].version)} daddr {_one_or_set(_spans(networks))}"
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


def _spans(networks: tuple[rs.Network, ...]) -> list[str]:
    """The networks as nft lists them: single addresses apart, but neighbours joined beside a prefix."""
    ordered = sorted((int(net.network_address), int(net.broadcast_address)) for net in networks)
    if any(first != last for first, last in ordered):
        ordered = _joined(ordered)
    version = networks[0].version
    return [_span(version, first, last) for first, last in ordered]


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined = spans[:1]
    for first, last in spans[1:]:
        if first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def _span(version: int, first: int, last: int) -> str:
    """An address, a prefix, or a range when it is neither."""
    make = IPv4Address if version == 4 else IPv6Address
    if first == last:
        return str(make(first))
    prefixes = list(summarize_address_range(make(first), make(last)))
    return str(prefixes[0]) if len(prefixes) == 1 else f"{make(first)}-{make(last)}"


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
        case rs.Jump(chain):
            return f"jump {chain}"
        case rs.Goto(chain):
            return f"goto {chain}"
        case rs.Count(counter):
            return f'counter name "{counter}"'
        case rs.Log(rate, prefix, group):
            # nft does not print its default burst
            burst = "" if rate.count == _DEFAULT_BURST else f"burst {rate.count} packets "
            return f'limit rate {rate} {burst}log prefix "{prefix}" group {group}'
        case rs.Redirect(port):
            return f"redirect to :{port}"


def _address_word(version: int) -> str:
    return "ip" if version == 4 else "ip6"


def _one_or_set(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{{ {', '.join(texts)} }}"
