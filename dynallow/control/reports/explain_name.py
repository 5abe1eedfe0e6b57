"""Why a name may be asked for or not, and its addresses be reached on a port.

Decides nothing: the verdict is the policy's own, asked for again by the agent's road; ports and users are
read off the table that is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dynallow.control.reports import remedies
from dynallow.control.reports.explain_parts import Facts, blank, lead, lease, scope, traced
from dynallow.control.reports.reach import is_dns, lets
from dynallow.control.reports.remedies import Opening, Remedy
from dynallow.control.schema import ExplainedRule, ExplainReport
from dynallow.durations import format_duration
from dynallow.policy.names import Name, to_text
from dynallow.policy.reserved import LOCALHOST, reserved, why_reserved, why_suffixed, without_suffix
from dynallow.policy.rrtypes import type_text
from dynallow.policy.rules import Rule
from dynallow.policy.verdict import Lead, Outcome, RuleTrace, Verdict
from dynallow.settings import locate


@dataclass(slots=True)
class NameFacts:
    """What was so of one name."""

    given: Facts
    name: Name
    qtype: int
    verdict: Verdict
    """For `qtype`: the best that any type of address record gives, or the one that was asked about."""


def explain_name(facts: NameFacts, hosts: list[str], seen: list[str]) -> ExplainReport:
    """The report; `hosts` are its addresses in /etc/hosts, `seen` others that gave them in the past."""
    given, name, verdict = facts.given, facts.name, facts.verdict
    leads = list(zip(verdict.rules, verdict.leads, strict=True)) if verdict.leads else []
    rules = [traced(trace) for trace in given.loaded.policy.explain(name, facts.qtype, given.wall)]
    allows = verdict.outcome is Outcome.ALLOWED
    rules += [traced(RuleTrace(rule, None, None, "allows" if allows else "filtered")) for rule, _ in leads]
    report = blank(given, to_text(name), "name")
    report["rules"], report["hosts"], report["seen_names"] = rules, hosts, seen
    report["leases"] = [lease(held, given.now) for held in given.leases]
    report["names"] = sorted(to_text(other) for other in given.names - {name})
    report["derived"] = [lead(rule, its, given.now) for rule, its in leads]
    report["verdict"], report["text"] = _verdict(facts, rules, leads)
    _locate(given, rules)
    if report["verdict"] != "allowed":
        report["change"] = [one.told(given.loaded) for one in _remedies(facts, rules, report["verdict"])]
        if given.settings.mode == "observe":
            report["notes"].append(
                "mode observe: the question is answered all the same, and counted as denied"
            )
    elif hosts:
        report["notes"].append("no lease is made for what /etc/hosts answers: nobody asks dynallow")
    return report


def _verdict(
    facts: NameFacts, rules: list[ExplainedRule], leads: list[tuple[Rule, Lead]]
) -> tuple[Literal["allowed", "denied", "filtered"], str]:
    name, verdict = facts.name, facts.verdict
    settings = facts.given.settings
    top, bare = reserved(name), without_suffix(name, settings.resolver.search_suffixes)
    if top is not None:
        text = f"{to_text(name)} is answered here, whatever rules say: {why_reserved(top)}"
        return ("allowed" if top == LOCALHOST else "denied"), text
    if verdict.outcome is Outcome.DENIED:
        return "denied", verdict.why_not(name) if bare is None else why_suffixed(bare)
    if verdict.outcome is Outcome.FILTERED:
        return "filtered", verdict.why_not(name)
    allowing = [rule for rule in rules if rule["outcome"] == "allows"]
    fitting = _fitting(facts, allowing)
    names = ", ".join(rule["rule"] for rule in fitting or allowing)
    if fitting:
        ports = ", ".join(dict.fromkeys(text for rule in fitting for text in rule["ports"]))
        text = f"{to_text(name)} is allowed by {names} on {ports}"
    else:
        text = f"{to_text(name)} is listed by {names}, but only for {scope(allowing)}"
    if leads:
        text = f"{text}; no rule lists it: {_led(leads, facts.given.now)}"
    return ("allowed" if fitting else "denied"), text


def _fitting(facts: NameFacts, allowing: list[ExplainedRule]) -> list[ExplainedRule]:
    """Those whose addresses may be reached on the port and by the user that were asked about."""
    asked = facts.given.asked
    if asked.port is None and asked.user is None:
        return allowing
    table = facts.given.table()
    by_name = {rule.name: rule for rule in facts.verdict.rules}
    return [rule for rule in allowing if lets(table, rule["rule"], asked, by_name[rule["rule"]].ports)]


def _remedies(facts: NameFacts, rules: list[ExplainedRule], verdict: str) -> list[Remedy]:
    given, name = facts.given, facts.name
    asked = given.asked
    if reserved(name) is not None:
        return [Remedy("nothing: no rule can list such a name")]
    bare = without_suffix(name, given.settings.resolver.search_suffixes)
    if bare is not None and facts.verdict.outcome is Outcome.DENIED and not rules:
        return [Remedy(f"ask for {to_text(bare)} with a dot behind it, or list {to_text(name)}")]
    found: list[Remedy] = []
    for rule in rules:
        match rule["outcome"]:
            case "excepted":
                found.append(remedies.unexcept(rule["rule"], rule["exception"] or "", rule["where"]))
            case "expired":
                found.append(remedies.renew(rule["rule"], rule["expires"]))
            case "filtered":
                found.append(remedies.add_type(rule["rule"], type_text(facts.qtype)))
    if found or verdict == "filtered":
        return found
    if is_dns(asked.port):
        return [Remedy("nothing: DNS goes to dynallow alone, whatever rules say")]
    if facts.verdict.outcome is Outcome.ALLOWED:
        widened = [
            remedies.widen(Opening("rule", rule.name, rule.ports, rule.users), asked.port, asked.user)
            for rule in facts.verdict.rules
        ]
        return [remedy for some in sorted(widened, key=len) for remedy in some]
    return remedies.list_name(given.loaded.policy, name, asked.port, given.wall)


def _locate(given: Facts, rules: list[ExplainedRule]) -> None:
    """Where the pattern of each stands that says it. Reads the files."""
    by_name = {rule.name: rule for rule in given.loaded.policy.rules}
    for told in rules:
        shown, rule = told["exception"] or told["pattern"], by_name.get(told["rule"])
        if shown is not None and rule is not None:
            told["where"] = locate(given.loaded, rule, shown)


def _led(leads: list[tuple[Rule, Lead]], now: float) -> str:
    return ", ".join(
        f"{to_text(its.root)} led to it under {rule.name}, for {format_duration(its.until - now)} more"
        for rule, its in leads
    )
