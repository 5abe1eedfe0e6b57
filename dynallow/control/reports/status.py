"""The status report: the agent's own view beside the kernel's sets."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from dynallow import __version__
from dynallow.control.encode import Encoded
from dynallow.control.reports.source import Source, moment, texts
from dynallow.control.schema import (
    LeaseReport,
    RuleReport,
    StatusReport,
)
from dynallow.firewall.inspect import SetMember, read_members
from dynallow.firewall.present import read_denied
from dynallow.settings import RuleSettings, not_in_force


class Held(NamedTuple):
    """What the kernel holds: leases by rule, and packets and bytes denied."""

    leases: Mapping[str, Encoded]
    denied: tuple[int, int]


def read_held(rules: Sequence[str]) -> Held:
    """From the kernel; for 100,000 leases that takes seconds, so never in the loop's thread.

    Raises KernelError.
    """
    return Held({rule: Encoded(map(_lease, read_members(rule))) for rule in rules}, read_denied())


def status(
    agent: Source, held: Held | None, rules: Sequence[str], problem: str | None = None
) -> StatusReport:
    """The status report; `held` is None, and `problem` says why, where the kernel could not be read."""
    table = held is not None
    leases, denied = held or Held({}, (0, 0))
    settings, counts = agent.settings, agent.road.counts
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
                "upstream": server.name,
                "healthy": not server.failures_in_row,
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
        "rules": [_rule(rule, leases.get(rule.name)) for rule in settings.rules if rule.name in rules],
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


def _rule(rule: RuleSettings, leases: Encoded | None) -> RuleReport:
    return {
        "rule": rule.name,
        "reason": rule.reason,
        "owner": rule.owner,
        "expires": None if rule.expires is None else rule.expires.isoformat(),
        "ports": texts(rule.ports),
        "users": list(rule.users),
        # A list of leases to whoever reads the JSON; here it is JSON already.
        "leases": cast(list[LeaseReport], leases or []),
    }


def _lease(member: SetMember) -> LeaseReport:
    return {
        "address": member.address,
        "name": member.name,
        "expires_in_s": member.expires_in_s,
        "packets": member.packets,
        "bytes": member.bytes,
    }
