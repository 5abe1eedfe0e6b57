"""Why a name or an address may be reached or not.

Decides nothing: the verdict is the policy's own, asked for again.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from dynallow.control.backend import BadRequestError
from dynallow.control.reports.hostsfile import HOSTS, addresses_in
from dynallow.control.reports.source import Source, texts
from dynallow.control.schema import (
    ExplainedLead,
    ExplainedLease,
    ExplainedRule,
    ExplainReport,
)
from dynallow.policy.names import parse_name, to_text
from dynallow.policy.reserved import LOCALHOST, reserved, why_reserved, why_suffixed, without_suffix
from dynallow.policy.rules import Rule
from dynallow.policy.verdict import Lead, Outcome, RuleTrace
from dynallow.resolver.answer import GRANTING_TYPES
from dynallow.settings import Destination, Loaded, locate
from dynallow.units import PortRange, format_duration, parse_port


def explain(agent: Source, subject: str, port: PortRange | None, user: int | None) -> ExplainReport:
    """The verdict on a name or an address. Raises BadRequestError for neither."""
    try:
        packed = ip_address(subject.strip("[]")).packed
    except ValueError:
        return _explain_name(agent, subject, port, user)
    return _explain_address(agent, packed, port, user)


def located(loaded: Loaded, explained: ExplainReport, hosts: Path = HOSTS) -> ExplainReport:
    """The explanation with the files and lines that its rules stand in, and what the hosts file says.

    Reads the files, which may be long: must not run in the loop's thread.
    """
    by_name = {rule.name: rule for rule in loaded.policy.rules}
    for told in explained["rules"]:
        shown, rule = told["exception"] or told["pattern"], by_name.get(told["rule"])
        if shown is not None and rule is not None:
            told["where"] = locate(loaded, rule, shown)
    if explained["kind"] == "name":
        explained["hosts"] = addresses_in(hosts, explained["subject"])
    return explained


def _explain_name(agent: Source, subject: str, port: PortRange | None, user: int | None) -> ExplainReport:
    try:
        name = parse_name(subject)
    except ValueError as error:
        raise BadRequestError(f"expected a name or an address: {error}") from error
    wall, now = agent.road.wall(), agent.road.clock()
    policy = agent.loaded.policy
    # The best that any type of address record gives: a rule may allow AAAA alone.
    verdicts = {kind: agent.road.decide(name, kind) for kind in GRANTING_TYPES}
    allowed = (kind for kind, verdict in verdicts.items() if verdict.outcome is Outcome.ALLOWED)
    verdict = verdicts[qtype := next(allowed, GRANTING_TYPES[0])]
    leads = list(zip(verdict.rules, verdict.leads, strict=True)) if verdict.leads else []
    rules = [_traced(trace) for trace in policy.explain(name, qtype, wall)]
    allows = verdict.outcome is Outcome.ALLOWED
    rules += [_traced(RuleTrace(rule, None, None, "allows" if allows else "filtered")) for rule, _ in leads]
    earners = dict.fromkeys([name, *(lead.root for _, lead in leads)])
    leases = [lease for earner in earners for lease in agent.ledger.of(earner, now)]
    others = {other for _, address, _ in leases for other in agent.ledger.names_of(address, now)} - {name}
    outcome: Literal["allowed", "denied", "filtered"] = (
        "filtered" if verdict.outcome is Outcome.FILTERED else "denied"
    )
    text = verdict.why_not(name)
    top, bare = reserved(name), without_suffix(name, agent.settings.resolver.search_suffixes)
    if top is not None:
        outcome = "allowed" if top == LOCALHOST else "denied"
        text = f"{to_text(name)} is answered here, whatever rules say: {why_reserved(top)}"
    elif verdict.outcome is Outcome.DENIED and bare is not None:
        text = why_suffixed(bare)
    elif verdict.outcome is Outcome.ALLOWED:
        fitting = [rule for rule in rules if rule["outcome"] == "allows" and _fits(rule, port, user)]
        outcome = "allowed" if fitting else "denied"
        names = ", ".join(rule["rule"] for rule in fitting or rules)
        ports = ", ".join(dict.fromkeys(text for rule in fitting or rules for text in rule["ports"]))
        text = (
            f"{to_text(name)} is allowed by {names} on {ports}"
            if fitting
            else f"{to_text(name)} is listed by {names}, but only for {_scope(rules)}"
        )
        if leads:
            text = f"{text}; no rule lists it: {_led(leads, now)}"
    return {
        "subject": to_text(name),
        "kind": "name",
        "verdict": outcome,
        "text": text,
        "rules": rules,
        "leases": [
            _lease(rule, address, lease.name, lease.deadline - now) for rule, address, lease in leases
        ],
        "names": sorted(to_text(other) for other in others),
        "derived": [_lead(rule, lead, now) for rule, lead in leads],
        "hosts": [],
    }


def _explain_address(agent: Source, packed: bytes, port: PortRange | None, user: int | None) -> ExplainReport:
    now = agent.road.clock()
    address = ip_address(packed)
    leases = agent.ledger.at(packed, now)
    rules = [_leased(agent, rule, lease.name) for rule, lease in leases]
    rules += [
        _destined(destination)
        for destination in agent.settings.destinations
        if any(network.version == address.version and address in network for network in destination.addresses)
    ]
    fitting = [rule for rule in rules if _fits(rule, port, user)]
    blocked = dict(agent.ledger.revoked(now)).get(packed)
    if fitting:
        text = (
            f"{address} may be reached on {_scope(fitting)}, by {', '.join(rule['rule'] for rule in fitting)}"
        )
    elif blocked is not None and not rules:
        text = (
            f"{address} was revoked; flows to it count for nothing for {format_duration(blocked - now)} more"
        )
    elif rules:
        text = f"{address} may be reached, but only on {_scope(rules)}"
    else:
        text = f"{address} was not handed out for any allowed name, and no destination names it"
    return {
        "subject": str(address),
        "kind": "address",
        "verdict": "allowed" if fitting else "denied",
        "text": text,
        "rules": rules,
        "leases": [_lease(rule, packed, lease.name, lease.deadline - now) for rule, lease in leases],
        "names": sorted(
            to_text(name)
            for name in agent.ledger.names_of(packed, now) - {lease.name for _, lease in leases} - {b""}
        ),
        "derived": [],
        "hosts": [],
    }


def _traced(trace: RuleTrace) -> ExplainedRule:
    return {
        "rule": trace.rule.name,
        "outcome": trace.outcome,
        "pattern": trace.pattern,
        "exception": trace.exception,
        "where": None,
        "ports": texts(trace.rule.ports),
        "users": list(trace.rule.users),
        "reason": trace.rule.reason,
        "owner": trace.rule.owner,
    }


def _leased(agent: Source, rule: str, name: bytes) -> ExplainedRule:
    """How the rule came to grant an address that `name` has earned.

    The trace is missing when the name is unknown (its comment was too long to
    be read back after a restart): then the rule alone is told.
    """
    wall = agent.road.wall()
    for qtype in GRANTING_TYPES if name else ():
        for trace in agent.loaded.policy.explain(name, qtype, wall):
            if trace.rule.name == rule and trace.outcome == "allows":
                return _traced(trace)
    known = next(known for known in agent.loaded.policy.rules if known.name == rule)
    return _traced(RuleTrace(known, None, None, "allows"))


def _destined(destination: Destination) -> ExplainedRule:
    return {
        "rule": destination.name,
        "outcome": "destination",
        "pattern": None,
        "exception": None,
        "where": None,
        "ports": texts(destination.ports),
        "users": list(destination.users),
        "reason": destination.reason,
        "owner": "",
    }


def _fits(rule: ExplainedRule, port: PortRange | None, user: int | None) -> bool:
    """Whether the rule covers this port and user; what was not asked about is covered."""
    ports = [parse_port(text) for text in rule["ports"]]
    return (port is None or any(port in covered for covered in ports)) and (
        user is None or not rule["users"] or user in rule["users"]
    )


def _scope(rules: Iterable[ExplainedRule]) -> str:
    parts = []
    for rule in rules:
        users = f" for uid {', '.join(map(str, rule['users']))}" if rule["users"] else ""
        parts.append(f"{', '.join(rule['ports'])}{users}")
    return "; ".join(dict.fromkeys(parts))


def _led(leads: Iterable[tuple[Rule, Lead]], now: float) -> str:
    return ", ".join(
        f"{to_text(lead.root)} led to it under {rule.name}, for {format_duration(lead.until - now)} more"
        for rule, lead in leads
    )


def _lead(rule: Rule, lead: Lead, now: float) -> ExplainedLead:
    return {
        "rule": rule.name,
        "root": to_text(lead.root),
        "steps": lead.steps,
        "expires_in_s": round(lead.until - now, 3),
    }


def _lease(rule: str, address: bytes, name: bytes, left_s: float) -> ExplainedLease:
    return {
        "rule": rule,
        "address": str(ip_address(address)),
        "name": to_text(name) if name else "",
        "expires_in_s": round(left_s, 3),
    }
