"""Why an address may be reached or not: what the chain makes of the first packet to it.

Decides nothing: the verdict is read off the table that is loaded (`firewall/walk.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address

from dynallow.control.reports import remedies
from dynallow.control.reports.explain_parts import Facts, blank, destined, lease, scope, traced
from dynallow.control.reports.reach import Reach, covers, decided, is_dns, system_notes
from dynallow.control.reports.remedies import Opening, Remedy
from dynallow.control.schema import ExplainedDecision, ExplainedRule, ExplainReport
from dynallow.durations import format_duration
from dynallow.firewall.ruleset import REVOKED, set_name
from dynallow.firewall.walk import Decision
from dynallow.policy.names import Name, parse_name, to_text
from dynallow.policy.special import special_purpose
from dynallow.policy.verdict import RuleTrace
from dynallow.resolver.answer import GRANTING_TYPES


@dataclass(slots=True)
class AddressFacts:
    """What was so of one address."""

    given: Facts
    packed: bytes
    own: bool
    revoked_until: float | None
    lapsed: list[tuple[str, Name]] = field(default_factory=list)
    """Rules that had it, and the names that had earned it."""


def explain_address(facts: AddressFacts, hosts_names: list[str], seen: list[str]) -> ExplainReport:
    """The report; `hosts_names` are those of /etc/hosts, `seen` those that gave the address in the past."""
    given, packed = facts.given, facts.packed
    settings, asked = given.settings, given.asked
    leased = [rule for rule, _, _ in given.leases]
    rules = [_leased(given, rule, its.name) for rule, _, its in given.leases]
    fitting_destinations = [one for one in settings.destinations if covers(one, packed)]
    rules += map(destined, fitting_destinations)
    openings = _openings(facts, leased)
    decision, told = _decide(facts, leased, openings)
    report = blank(given, str(ip_address(packed)), "address")
    report["rules"], report["hosts_names"], report["seen_names"] = rules, hosts_names, seen
    report["leases"] = [lease(held, given.now) for held in given.leases]
    report["names"] = sorted(
        to_text(name) for name in given.names - {its.name for _, _, its in given.leases} - {b""}
    )
    report["verdict"] = "allowed" if decision.open else "denied"
    if asked.port is not None or asked.protocol:
        report["packet"], report["decided"] = decision.fate, told
    elif decision.open:
        report["decided"] = told
    if facts.revoked_until is not None:
        report["revoked_for_s"] = round(facts.revoked_until - given.now, 3)
    report["text"] = _text(facts, decision, told, rules)
    report["notes"] = _notes(facts, decision)
    if not decision.open:
        report["change"] = [
            one.told(given.loaded) for one in _remedies(facts, told, openings, hosts_names, seen)
        ]
    return report


def _decide(
    facts: AddressFacts, leased: list[str], openings: list[Opening]
) -> tuple[Decision, ExplainedDecision]:
    sets = {set_name(rule, family) for rule in leased for family in (4, 6)}
    if facts.revoked_until is not None:
        sets |= {set_name(REVOKED, 4), set_name(REVOKED, 6)}
    reach = Reach(facts.given.table(), lambda name, _: name in sets, facts.own)
    ports = [port for opening in openings for port in opening.ports]
    packet, decision = reach.look(facts.packed, facts.given.asked, ports)
    return decision, decided(decision, packet, facts.given.settings)


def _openings(facts: AddressFacts, leased: Iterable[str]) -> list[Opening]:
    settings = facts.given.settings
    by_name = {rule.name: rule for rule in settings.rules}
    found = [
        Opening("rule", rule.name, rule.ports, rule.users)
        for name in leased
        if (rule := by_name.get(name)) is not None
    ]
    return found + [
        Opening("destination", one.name, one.ports, one.users)
        for one in settings.destinations
        if covers(one, facts.packed)
    ]


def _text(
    facts: AddressFacts, decision: Decision, told: ExplainedDecision, rules: list[ExplainedRule]
) -> str:
    asked, address = facts.given.asked, ip_address(facts.packed)
    on = f" on {asked.port}" if asked.port else f" by {asked.protocol}" if asked.protocol else ""
    if decision.open and told["by"] == "loopback":
        return f"{address} is this host itself: what stays on it is never held up"
    if decision.open:
        by = list(dict.fromkeys(rule["rule"] for rule in rules)) if asked.port is None else [told["name"]]
        fitting = [rule for rule in rules if rule["rule"] in by]
        for_user = f" by uid {asked.user}" if asked.user is not None and asked.port is not None else ""
        return f"{address} may be reached on {asked.port or scope(fitting)}{for_user}, by {', '.join(by)}"
    if decision.fate == "turned":
        return f"DNS to {address}{on} is turned to dynallow, which answers in its place"
    if told["by"] == "dns":
        return f"{address} may not be asked{on}: DNS goes to dynallow alone"
    if facts.revoked_until is not None and not rules:
        left = format_duration(facts.revoked_until - facts.given.now)
        return f"{address} was revoked; flows to it count for nothing for {left} more"
    if rules:
        return f"{address} may be reached, but only on {scope(rules)}"
    if facts.lapsed:
        rule, name = facts.lapsed[0]
        of = f" of {to_text(name)}" if name else ""
        return f"{address} was open under {rule}, and its lease{of} has lapsed"
    return f"{address} was not handed out for any allowed name, and no destination names it"


def _notes(facts: AddressFacts, decision: Decision) -> list[str]:
    given, packed = facts.given, facts.packed
    notes = []
    if not decision.open and decision.fate == "passed":
        notes.append("mode observe: nothing is blocked, this is what enforce would do")
    elif not decision.open and given.settings.mode == "observe":
        notes.append("mode observe: such a packet is counted as denied, and goes out")
    ways = sorted(f"{over}/{end.port}" for end, over in given.ways if end.address.packed == packed)
    if ways:
        notes.append(
            f"it is an upstream server: dynallow's own sockets reach it on {', '.join(ways)}, nobody else's"
        )
    special = None if facts.own or decision.open else special_purpose(packed)
    if special:
        notes.append(f"a {special} address: it is taken out of answers unless the rule's `private` names it")
    return notes + system_notes(packed, given.asked.port)


def _remedies(
    facts: AddressFacts,
    told: ExplainedDecision,
    openings: list[Opening],
    hosts_names: list[str],
    seen: list[str],
) -> list[Remedy]:
    given, asked = facts.given, facts.given.asked
    address = str(ip_address(facts.packed))
    if told["by"] == "dns" or (is_dns(asked.port) and asked.port and asked.port.first == asked.port.last):
        instead = [Remedy("ask dynallow instead; no rule opens DNS to other servers")]
        if asked.port is not None and asked.port.first == 53:
            add = f"should dynallow itself ask it, add {remedies.quoted(address)} to resolver.upstreams"
            instead.append(Remedy(add))
        return instead
    if asked.protocol:
        return [Remedy(f"nothing: rules open TCP and UDP ports, not {asked.protocol}")]
    widened = sorted((remedies.widen(one, asked.port, asked.user) for one in openings), key=len)
    if widened:
        return list(dict.fromkeys(remedy for some in widened for remedy in some))
    found = []
    sources = dict.fromkeys([*(to_text(name) for _, name in facts.lapsed if name), *hosts_names, *seen])
    for text in sources:
        if text in hosts_names:
            found.append(Remedy(f"take {text} out of /etc/hosts, so that it is asked for through dynallow"))
        found += _by_name(given, text)
    if not found:
        found.append(Remedy("ask for its name through dynallow: the address never came from DNS"))
    return [*found, remedies.destination(address, asked.port)]


def _by_name(given: Facts, text: str) -> list[Remedy]:
    """For an address that has a name: whether that is listed, and what is to be done."""
    try:
        name = parse_name(text)
    except ValueError:
        return []
    policy, asked = given.loaded.policy, given.asked
    for qtype in GRANTING_TYPES:
        verdict = policy.decide(name, qtype, given.wall)
        if verdict.rules:
            rule = verdict.rules[0]
            opening = Opening("rule", rule.name, rule.ports, rule.users)
            ask = Remedy(f"ask for {text} through dynallow: rule {rule.name} lists it")
            return [ask, *remedies.widen(opening, asked.port, asked.user)]
    return remedies.list_name(policy, name, asked.port, given.wall)


def _leased(given: Facts, rule: str, name: bytes) -> ExplainedRule:
    """How the rule came to grant an address that `name` has earned.

    The trace is missing when the name is unknown (its comment was too long to
    be read back after a restart): then the rule alone is told.
    """
    for qtype in GRANTING_TYPES if name else ():
        for trace in given.loaded.policy.explain(name, qtype, given.wall):
            if trace.rule.name == rule and trace.outcome == "allows":
                return traced(trace)
    known = next(known for known in given.loaded.policy.rules if known.name == rule)
    return traced(RuleTrace(known, None, None, "allows"))
