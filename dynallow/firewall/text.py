"""The ruleset as nft text.

Pure. `render_table` prints exactly what `nft -s list table inet dynallow`
shows once it is loaded, but for who owns it.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, summarize_address_range

from dynallow.firewall import ruleset as rs

_DEFAULT_BURST = 5
_SPANS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def render_table(table: rs.Ruleset) -> str:
    """The table's declaration."""
    lines = [f"table inet {rs.TABLE} {{"]
    blocks = [[f"counter {name} {{", "}"] for name in table.counters]
    blocks += [_flow_set(declared) for declared in table.flow_sets]
    blocks += [_set(declared) for declared in table.sets]
    blocks += [_chain(chain) for chain in table.chains]
    for number, block in enumerate(blocks):
        lines += [""] * (number > 0) + ["\t" + line for line in block]
    return "\n".join([*lines, "}"]) + "\n"


def _set(declared: rs.AddressSet) -> list[str]:
    lines = [
        f"set {declared.name} {{",
        f"\ttype {'ipv4_addr' if declared.family == 4 else 'ipv6_addr'}",
        *([f"\tsize {declared.size}"] if declared.size else []),
        "\tflags timeout",
    ]
    return [*lines, *["\tcounter"] * declared.counter, "}"]


def _flow_set(declared: rs.FlowSet) -> list[str]:
    return [
        f"set {declared.name} {{",
        f"\ttype {'ipv4_addr' if declared.family == 4 else 'ipv6_addr'} . inet_proto . inet_service . uid",
        f"\tsize {declared.size}",
        "\tflags dynamic,timeout",
        f"\ttimeout {_duration(declared.lasts_s)}",
        f"\tgc-interval {_duration(declared.collected_every_s)}",
        "}",
    ]


def _duration(seconds: int) -> str:
    """As nft prints it."""
    parts = []
    for unit, length in _SPANS:
        count, seconds = divmod(seconds, length)
        parts += [f"{count}{unit}"] * (count > 0)
    return "".join(parts)


def _chain(chain: rs.Chain) -> list[str]:
    lines = [f"chain {chain.name} {{"]
    if chain.hook is not None:
        hook = chain.hook
        lines.append(f"\ttype {hook.type} hook {hook.at} priority {hook.priority}; policy {hook.policy};")
    return [*lines, *("\t" + _rule(rule) for rule in chain.rules), "}"]


def render_rule(rule: rs.Rule) -> str:
    """One line of a chain."""
    return _rule(rule)


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
        case rs.Test(field, values, negated):
            return f"{field} {'!= ' * negated}{_one_or_set([str(value) for value in values])}"


def _spans(networks: tuple[rs.Network, ...]) -> list[str]:
    """As nft lists them."""
    version = networks[0].version
    return [_span(version, first, last) for first, last in rs.spans(networks)]


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
        case rs.Log(rate, prefix, group, burst):
            # nft does not print its default burst
            at_once = "" if burst == _DEFAULT_BURST else f"burst {burst} packets "
            return f'limit rate {rate} {at_once}log prefix "{prefix}" group {group}'
        case rs.Tally(flows, _, then):
            return f"update @{flows} {{ {_flow(statement)} counter }} {_statement(then)}"
        case rs.Redirect(port):
            return f"redirect to :{port}"


def _flow(tally: rs.Tally) -> str:
    """The key of a packet's element."""
    parts = (
        f"{_address_word(tally.family)} daddr",
        "meta l4proto" if tally.protocol else str(rs.NO_PROTOCOL),
        "th dport" if tally.port else str(rs.NO_PORT),
        "meta skuid" if tally.user else str(rs.NO_USER),
    )
    return " . ".join(parts)


def _address_word(version: int) -> str:
    return "ip" if version == 4 else "ip6"


def _one_or_set(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{{ {', '.join(texts)} }}"
