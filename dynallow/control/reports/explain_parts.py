"""What explanations of names and of addresses share: the facts they are made from, and values in words.

Keeps: everything in `Facts` is a value of its own or never changes once made, so that what follows from
it can be worked out in a thread while the agent answers questions.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Literal

from dynallow.control.reports.source import Source, texts
from dynallow.control.schema import ExplainedLead, ExplainedLease, ExplainedRule, ExplainReport
from dynallow.firewall.build import Way, build_ruleset
from dynallow.firewall.ruleset import Ruleset
from dynallow.lease.grant import Lease
from dynallow.policy.names import Name, to_text
from dynallow.policy.rules import Rule
from dynallow.policy.verdict import Lead, RuleTrace
from dynallow.settings import Destination, Loaded, Settings
from dynallow.units import PortRange

Held = tuple[str, bytes, Lease]
"""A rule, an address in its set, and its lease."""


@dataclass(slots=True)
class Asked:
    """What somebody wants explained. `protocol` is set where it has no ports ("icmp")."""

    subject: str
    port: PortRange | None = None
    user: int | None = None
    protocol: str = ""
    id: str | None = None
    qtype: int | None = None


@dataclass(slots=True)
class Facts:
    """What was so at the moment of asking."""

    asked: Asked
    loaded: Loaded
    settings: Settings
    ways: frozenset[Way]
    filtered: bool
    """Whether the kernel tells the flows to one address alone."""
    now: float
    wall: float
    leases: list[Held] = field(default_factory=list)
    names: set[Name] = field(default_factory=set)
    """Who has a claim on one of the addresses."""
    uid: int = field(default_factory=os.geteuid)

    def table(self) -> Ruleset:
        """What is loaded in the kernel."""
        return build_ruleset(self.settings, self.ways, self.uid)


def facts(agent: Source, asked: Asked) -> Facts:
    """Those that any subject needs."""
    return Facts(
        asked,
        agent.loaded,
        agent.settings,
        agent.chosen.ways(),
        bool(agent.table.features.conntrack_filter),
        agent.road.clock(),
        agent.road.wall(),
    )


def blank(given: Facts, subject: str, kind: Literal["name", "address"]) -> ExplainReport:
    """A report that says nothing yet."""
    asked = given.asked
    return {
        "subject": subject,
        "kind": kind,
        "verdict": "denied",
        "text": "",
        "rules": [],
        "leases": [],
        "names": [],
        "derived": [],
        "hosts": [],
        "hosts_names": [],
        "mode": given.settings.mode,
        "id": asked.id,
        "port": str(asked.port) if asked.port else asked.protocol or None,
        "user": asked.user,
        "packet": None,
        "decided": None,
        "change": [],
        "notes": [],
        "revoked_for_s": None,
        "flows": 0,
        "past": [],
        "past_rows": 0,
        "past_begins": None,
        "seen_names": [],
    }


def traced(trace: RuleTrace) -> ExplainedRule:
    """What a rule makes of a name."""
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
        "line": None,
        "expires": last_day(trace.rule),
    }


def destined(destination: Destination) -> ExplainedRule:
    """What a destination opens."""
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
        "line": None,
        "expires": None,
    }


def lease(held: Held, now: float) -> ExplainedLease:
    """A lease as it is told."""
    rule, address, its = held
    return {
        "rule": rule,
        "address": str(ip_address(address)),
        "name": to_text(its.name) if its.name else "",
        "expires_in_s": round(its.deadline - now, 3),
    }


def lead(rule: Rule, its: Lead, now: float) -> ExplainedLead:
    """How a name that no rule lists may be asked for all the same."""
    return {
        "rule": rule.name,
        "root": to_text(its.root),
        "steps": its.steps,
        "expires_in_s": round(its.until - now, 3),
    }


def scope(rules: Iterable[ExplainedRule]) -> str:
    """Ports, and for whom."""
    parts = []
    for rule in rules:
        users = f" for uid {', '.join(map(str, rule['users']))}" if rule["users"] else ""
        parts.append(f"{', '.join(rule['ports'])}{users}")
    return "; ".join(dict.fromkeys(parts))


def last_day(rule: Rule) -> str | None:
    """The last day on which it allows anything: `expires_at` is the midnight after it."""
    if rule.expires_at is None:
        return None
    return (datetime.fromtimestamp(rule.expires_at, UTC) - timedelta(days=1)).date().isoformat()
