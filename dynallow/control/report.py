"""What the agent knows, as the control API tells it.

Reads the rooms' public sides and changes nothing. Decides nothing either: the
verdicts in an explanation are the policy's own, asked for again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, Protocol

from dynallow import __version__
from dynallow.control.backend import BadRequestError
from dynallow.control.metrics import Family, render
from dynallow.control.schema import (
    ExplainedLease,
    ExplainedRule,
    ExplainReport,
    FlushReport,
    LeaseReport,
    ReloadReport,
    RuleReport,
    StatusReport,
)
from dynallow.firewall.inspect import SetMember
from dynallow.firewall.table import Table
from dynallow.lease.ledger import Ledger, Revocation
from dynallow.policy.names import parse_name, to_text
from dynallow.policy.verdict import Outcome, RuleTrace
from dynallow.resolver.road import Road
from dynallow.settings import Destination, Loaded, RuleSettings, Settings, locate, not_in_force
from dynallow.units import PortRange

_A = 1
_CONNECTIONS = ("tcp", "udp")


class Source(Protocol):
    """The parts of the agent that a report is made from."""

    settings: Settings
    loaded: Loaded
    ledger: Ledger
    table: Table
    road: Road
    since: datetime
    mode_since: datetime

    def warnings(self) -> list[str]:
        """What an administrator should know."""


# ------------------------------------------------------------------ status


def status(
    agent: Source,
    members: Mapping[str, Sequence[SetMember]],
    denied: tuple[int, int],
    rules: Sequence[str],
    *,
    table: bool,
    problem: str | None,
) -> StatusReport:
    """The status report; `members` and `denied` come from the kernel."""
    settings, counts = agent.settings, agent.road.counts
    now = time.monotonic()
    return {
        "agent": {
            "running": True,
            "pid": os.getpid(),
            "version": __version__,
            "since": _moment(agent.since),
            "settings": str(agent.loaded.files[0]),
        },
        "mode": settings.mode,
        "mode_since": _moment(agent.mode_since),
        "kernel": {
            "release": os.uname().release,
            "table": table,
            "in_place_refresh": agent.table.leaser.in_place,
            "denied_packets": denied[0],
            "denied_bytes": denied[1],
        },
        "listen": [str(endpoint) for endpoint in settings.resolver.listen],
        "upstreams": [
            {
                "upstream": str(server.endpoint),
                "healthy": server.rest_until <= now,
                "asked": server.asked,
                "failed": server.failed,
                "latency_ms": None if server.latency_s is None else round(server.latency_s * 1000, 2),
                "last_error": server.last_error,
            }
            for server in agent.road.upstreams.all()
        ],
        "questions": {
            "allowed": counts.allowed,
            "denied": counts.denied,
            "filtered": counts.filtered,
            "malformed": counts.malformed,
            "hot": counts.hot,
            "cached": counts.cached,
            "fresh": counts.fresh,
            "stale": counts.stale,
            "servfail": counts.servfail,
        },
        "rules": [_rule(rule, members.get(rule.name, ())) for rule in settings.rules if rule.name in rules],
        "destinations": [
            {
                "destination": destination.name,
                "addresses": [str(network) for network in destination.addresses],
                "ports": _texts(destination.ports),
                "users": list(destination.users),
                "reason": destination.reason,
            }
            for destination in settings.destinations
        ],
        "not_in_force": list(not_in_force(agent.loaded.settings)),
        "warnings": [*agent.warnings(), *([problem] if problem else [])],
    }


def _rule(rule: RuleSettings, members: Iterable[SetMember]) -> RuleReport:
    return {
        "rule": rule.name,
        "reason": rule.reason,
        "owner": rule.owner,
        "expires": None if rule.expires is None else rule.expires.isoformat(),
        "ports": _texts(rule.ports),
        "users": list(rule.users),
        "leases": [
            LeaseReport(
                address=member.address,
                name=member.name,
                expires_in_s=member.expires_in_s,
                packets=member.packets,
                bytes=member.bytes,
            )
            for member in members
        ],
    }


# ------------------------------------------------------------------ explain


def explain(agent: Source, subject: str, port: PortRange | None, user: int | None) -> ExplainReport:
    """The verdict on a name or an address. Raises BadRequestError for neither."""
    try:
        packed = ip_address(subject.strip("[]")).packed
    except ValueError:
        return _explain_name(agent, subject, port, user)
    return _explain_address(agent, packed, port, user)


def located(loaded: Loaded, explained: ExplainReport) -> ExplainReport:
    """The explanation with the files and lines that its rules stand in.

    Reads the files, which may be long: must not run in the loop's thread.
    """
    by_name = {rule.name: rule for rule in loaded.policy.rules}
    for told in explained["rules"]:
        shown, rule = told["exception"] or told["pattern"], by_name.get(told["rule"])
        if shown is not None and rule is not None:
            told["where"] = locate(loaded, rule, shown)
    return explained


def _explain_name(agent: Source, subject: str, port: PortRange | None, user: int | None) -> ExplainReport:
    try:
        name = parse_name(subject)
    except ValueError as error:
        raise BadRequestError(f"expected a name or an address: {error}") from error
    wall, now = agent.road.wall(), agent.road.clock()
    policy = agent.loaded.policy
    verdict = policy.decide(name, _A, wall)
    rules = [_traced(trace) for trace in policy.explain(name, _A, wall)]
    leases = agent.ledger.of(name, now)
    others = {other for _, address, _ in leases for other in agent.ledger.names_of(address, now)} - {name}
    outcome, text = verdict.outcome.value, verdict.reason
    if verdict.outcome is Outcome.ALLOWED:
        fitting = [rule for rule in rules if rule["outcome"] == "allows" and _fits(rule, port, user)]
        outcome = "allowed" if fitting else "denied"
        names = ", ".join(rule["rule"] for rule in fitting or rules)
        ports = ", ".join(dict.fromkeys(text for rule in fitting or rules for text in rule["ports"]))
        text = (
            f"{to_text(name)} is allowed by {names} on {ports}"
            if fitting
            else f"{to_text(name)} is listed by {names}, but only for {_scope(rules)}"
        )
    return {
        "subject": to_text(name),
        "kind": "name",
        "verdict": _verdict(outcome),
        "text": text,
        "rules": rules,
        "leases": [
            _lease(rule, address, lease.name, lease.deadline - now) for rule, address, lease in leases
        ],
        "names": sorted(to_text(other) for other in others),
    }


def _explain_address(agent: Source, packed: bytes, port: PortRange | None, user: int | None) -> ExplainReport:
    now = agent.road.clock()
    address = ip_address(packed)
    leases = agent.ledger.at(packed, now)
    by_name = {rule.name: rule for rule in agent.settings.rules}
    rules = [_settled(agent, by_name[rule]) for rule, _ in leases]
    rules += [
        _destined(destination)
        for destination in agent.settings.destinations
        if any(network.version == address.version and address in network for network in destination.addresses)
    ]
    fitting = [rule for rule in rules if _fits(rule, port, user)]
    if fitting:
        text = (
            f"{address} may be reached on {_scope(fitting)}, by {', '.join(rule['rule'] for rule in fitting)}"
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
        "names": sorted(to_text(name) for name in agent.ledger.names_of(packed, now)),
    }


def _traced(trace: RuleTrace) -> ExplainedRule:
    return {
        "rule": trace.rule.name,
        "outcome": trace.outcome,
        "pattern": trace.pattern,
        "exception": trace.exception,
        "where": None,
        "ports": _texts(trace.rule.ports),
        "users": list(trace.rule.users),
        "reason": trace.rule.reason,
        "owner": trace.rule.owner,
    }


def _settled(agent: Source, rule: RuleSettings) -> ExplainedRule:
    files = [source for source in agent.loaded.sources if source.rule.name == rule.name]
    return {
        "rule": rule.name,
        "outcome": "allows",
        "pattern": None,
        "exception": None,
        "where": f"{files[0].file}:rule[{files[0].index}]" if files else None,
        "ports": _texts(rule.ports),
        "users": list(rule.users),
        "reason": rule.reason,
        "owner": rule.owner,
    }


def _destined(destination: Destination) -> ExplainedRule:
    return {
        "rule": destination.name,
        "outcome": "destination",
        "pattern": None,
        "exception": None,
        "where": None,
        "ports": _texts(destination.ports),
        "users": list(destination.users),
        "reason": destination.reason,
        "owner": "",
    }


def _fits(rule: ExplainedRule, port: PortRange | None, user: int | None) -> bool:
    """Whether the rule covers this port and user; what was not asked about is covered."""
    ports = [_port(text) for text in rule["ports"]]
    return (port is None or any(port in covered for covered in ports)) and (
        user is None or not rule["users"] or user in rule["users"]
    )


def _port(text: str) -> PortRange:
    from dynallow.units import parse_port

    return parse_port(text)


def _scope(rules: Iterable[ExplainedRule]) -> str:
    parts = []
    for rule in rules:
        users = f" for uid {', '.join(map(str, rule['users']))}" if rule["users"] else ""
        parts.append(f"{', '.join(rule['ports'])}{users}")
    return "; ".join(dict.fromkeys(parts))


def _verdict(outcome: str) -> Any:
    return outcome


def _lease(rule: str, address: bytes, name: bytes, left_s: float) -> ExplainedLease:
    return {
        "rule": rule,
        "address": str(ip_address(address)),
        "name": to_text(name) if name else "",
        "expires_in_s": round(left_s, 3),
    }


# ------------------------------------------------------------------ changes


def changes(before: Settings, after: Loaded, restart: Sequence[str]) -> ReloadReport:
    """What a reload has changed."""
    old = {rule.name: rule for rule in before.rules}
    new = {rule.name: rule for rule in after.settings.rules}
    sections = ("mode", "resolver", "lease", "firewall", "destinations")
    settings_changed = [name for name in sections if getattr(before, name) != getattr(after.settings, name)]
    report: ReloadReport = {
        "changed": False,
        "rules_added": sorted(new.keys() - old.keys()),
        "rules_removed": sorted(old.keys() - new.keys()),
        "rules_changed": sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
        "settings_changed": settings_changed,
        "needs_restart": list(restart),
        "not_in_force": list(not_in_force(after.settings)),
    }
    report["changed"] = any(
        (report["rules_added"], report["rules_removed"], report["rules_changed"], settings_changed)
    )
    return report


def flushed(revocation: Revocation, named: Mapping[tuple[str, bytes], bytes], cut: int) -> FlushReport:
    """What a flush has taken away."""
    return {
        "revoked": [
            {
                "rule": rule,
                "address": str(ip_address(address)),
                "name": to_text(name) if (name := named.get((rule, address), b"")) else "",
            }
            for rule, address in revocation.elements
        ],
        "connections_cut": cut,
    }


# ------------------------------------------------------------------ metrics


def metrics(agent: Source) -> bytes:
    """Prometheus text. Labels are rules and servers from the settings, never a name from the network."""
    counts, leaser, exchange = (
        agent.road.counts,
        agent.table.leaser.counts,
        agent.road.upstreams.exchange.counts,
    )
    none: dict[str, str] = {}
    families = [
        Family(
            "dynallow_questions_total",
            "Questions by what became of them.",
            "counter",
            tuple(({"outcome": f.name}, float(getattr(counts, f.name))) for f in fields(counts)),
        ),
        Family(
            "dynallow_kernel_writes_total",
            "Element transactions and what came of them.",
            "counter",
            tuple(({"outcome": f.name}, float(getattr(leaser, f.name))) for f in fields(leaser)),
        ),
        Family(
            "dynallow_upstream_packets_total",
            "Packets that were not the answer, and moves to TCP.",
            "counter",
            tuple(({"kind": f.name}, float(getattr(exchange, f.name))) for f in fields(exchange)),
        ),
        Family(
            "dynallow_upstream_asked_total",
            "Questions asked of a server.",
            "counter",
            tuple(({"server": str(s.endpoint)}, float(s.asked)) for s in agent.road.upstreams.all()),
        ),
        Family(
            "dynallow_upstream_failed_total",
            "Tries at a server that failed.",
            "counter",
            tuple(({"server": str(s.endpoint)}, float(s.failed)) for s in agent.road.upstreams.all()),
        ),
        Family(
            "dynallow_leases",
            "Leases of a rule.",
            "gauge",
            tuple(({"rule": r.name}, float(agent.ledger.count(r.name))) for r in agent.settings.rules),
        ),
        Family(
            "dynallow_cache_answers",
            "Answers in the cache.",
            "gauge",
            ((none, float(len(agent.road.cache))),),
        ),
        Family(
            "dynallow_cache_evicted_total",
            "Answers that made room for others.",
            "counter",
            ((none, float(agent.road.cache.evicted)),),
        ),
        Family(
            "dynallow_hot_replies", "Rendered replies kept.", "gauge", ((none, float(len(agent.road.hot))),)
        ),
        Family(
            "dynallow_in_flight",
            "Questions and other work under way.",
            "gauge",
            ((none, float(len(agent.road.tasks))),),
        ),
        Family(
            "dynallow_tcp_connections",
            "Open TCP connections of clients.",
            "gauge",
            ((none, float(agent.road.tcp_connections)),),
        ),
        Family(
            "dynallow_table_healed_total",
            "Times the table was loaded again after tampering.",
            "counter",
            ((none, float(agent.table.heals)),),
        ),
        Family(
            "dynallow_enforcing",
            "1 in mode enforce, 0 in mode observe.",
            "gauge",
            ((none, float(agent.settings.mode == "enforce")),),
        ),
    ]
    return render(families)


def _texts(ports: Iterable[PortRange]) -> list[str]:
    return [str(port) for port in ports]


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
