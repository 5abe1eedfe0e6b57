"""The status report: the agent's own view beside the kernel's sets."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence

from dynallow import __version__
from dynallow.control.reports.source import Source, moment, texts
from dynallow.control.schema import (
    LeaseReport,
    RuleReport,
    StatusReport,
)
from dynallow.firewall.inspect import SetMember
from dynallow.settings import RuleSettings, not_in_force


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
            "since": moment(agent.since),
            "settings": str(agent.loaded.files[0]),
        },
        "mode": settings.mode,
        "mode_since": moment(agent.mode_since),
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
                "ports": texts(destination.ports),
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
        "ports": texts(rule.ports),
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
