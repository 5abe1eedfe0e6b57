"""The status report: the agent's own view beside the kernel's sets.

The leases are read while the report is sent, a part at a time, in a thread: for
100,000 of them that takes a second. What goes wrong meanwhile is told at the
report's end, among the warnings.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quoted
from socket import AddressFamily, inet_ntop
from typing import NamedTuple, Protocol, cast

from dynallow import __version__
from dynallow.control.leaselines import Leases
from dynallow.control.reports.history import Step
from dynallow.control.reports.past import said
from dynallow.control.reports.policylog import policy_report
from dynallow.control.reports.source import Source, moment, texts
from dynallow.control.schema import (
    DenialsReport,
    LeaseReport,
    ReadyReport,
    RuleReport,
    StatusReport,
    UpstreamReport,
)
from dynallow.errors import KernelError, TableMissingError
from dynallow.firewall.members import FAMILIES, Known, read_parts
from dynallow.firewall.present import read_counts, read_denied
from dynallow.firewall.readback import Member
from dynallow.firewall.ruleset import set_name
from dynallow.resolver.upstream.server import Server
from dynallow.settings import RuleSettings, not_in_force

_HOUR_S = 3600.0
_STEP_S = 60
_NAMES = 100
_Part = tuple[AddressFamily, list[Member]]


class Timeline(Protocol):
    """What happened when."""

    def timeline(self, since: float, step_s: int) -> Sequence[Step]:
        """Every step from the one that `since` lies in until now. Blocking."""


class Held(NamedTuple):
    """What the kernel holds: how many elements by set, and packets and bytes denied."""

    counts: dict[str, int | None]
    denied: tuple[int, int]


class Beside(NamedTuple):
    """What by-standers tell."""

    denials: DenialsReport | None = None
    readiness: ReadyReport | None = None


NOTHING = Beside()


def read_held(rules: Sequence[str]) -> Held:
    """From the kernel. Raises KernelError, where the rules' sets are not there too."""
    held = Held(read_counts(), read_denied())
    for name in (set_name(rule, version) for rule in rules for version, _, _ in FAMILIES):
        if name not in held.counts:
            raise TableMissingError(f"reading set {name}: it is not there", "dynallow loads it again")
    return held


def read_denials(past: Timeline, now: float) -> DenialsReport | None:
    """What was denied in the last hour, by the minute; None where that cannot be read. Blocking."""
    steps = said(lambda: past.timeline(now - _HOUR_S, _STEP_S), None)
    if steps is None:
        return None
    # The step that an hour ago lies in is half over: as many as make an hour, with the current one.
    points = steps[-int(_HOUR_S // _STEP_S) :]
    begins = points[0].at if points else now
    return {
        "since": moment(datetime.fromtimestamp(begins, UTC)),
        "step_s": _STEP_S,
        "questions": [point.questions_denied for point in points],
        "flows": [point.flows_denied for point in points],
    }


def status(
    agent: Source,
    held: Held | None,
    rules: Sequence[str],
    problem: str | None = None,
    beside: Beside = NOTHING,
) -> StatusReport:
    """The status report; `held` is None, and `problem` says why, where the kernel could not be read."""
    table = held is not None
    denied = held.denied if held is not None else (0, 0)
    warnings = [*agent.warnings(), *([problem] if problem else [])]
    known = None if held is None else Known(agent.ledger, held.counts)
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
        "pending": agent.pending(),
        "kernel": {
            "release": os.uname().release,
            "table": table,
            "in_place_refresh": agent.table.features.in_place,
            "owned": agent.table.features.owner,
            "conntrack_filter": agent.table.features.conntrack_filter,
            "sock_destroy": agent.table.features.sock_destroy,
            "denied_packets": denied[0],
            "denied_bytes": denied[1],
        },
        "denials": beside.denials,
        "readiness": beside.readiness,
        "listen": [str(endpoint) for endpoint in settings.resolver.listen],
        "upstreams": [_upstream(server) for server in agent.road.upstreams.all()],
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
        "living": {
            "asked": agent.living_counts.asked,
            "kept": agent.living_counts.kept,
            "passed_over": agent.living_counts.passed_over,
        },
        "rules": [_rule(rule, known, warnings) for rule in settings.rules if rule.name in rules],
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
        "policy": policy_report(agent.policy_log),
        # The last of all: what the reading of the leases had to say stands in it by then.
        "warnings": warnings,
    }


def _upstream(server: Server) -> UpstreamReport:
    guard = server.target.guard if server.stream is None else None
    return {
        "upstream": server.name,
        "healthy": server.healthy,
        "asked": server.asked,
        "failed": server.failed,
        "latency_ms": None if server.latency_s is None else round(server.latency_s * 1000, 2),
        "last_error": server.last_error,
        "keeps_case": None if guard is None else guard.mixes,
        "gives_cookies": None if guard is None else guard.expects,
    }


def _rule(rule: RuleSettings, known: Known | None, warnings: list[str]) -> RuleReport:
    read = _leases(rule.name, known, warnings) if known is not None else ()
    leases = Leases(read, _texts, _columns)
    return {
        "rule": rule.name,
        "names": [str(name) for name in rule.names[:_NAMES]],
        "names_count": len(rule.names),
        "names_from": [str(path) for path in rule.names_from],
        "reason": rule.reason,
        "owner": rule.owner,
        "expires": None if rule.expires is None else rule.expires.isoformat(),
        "ports": texts(rule.ports),
        "users": list(rule.users),
        # A list of leases to whoever reads the JSON; here they are still to be read.
        "leases": cast(list[LeaseReport], leases),
    }


def _leases(rule: str, known: Known, warnings: list[str]) -> Iterator[_Part]:
    try:
        for family, parts in read_parts(rule, known):
            for part in parts:
                if part:
                    yield family, part
    except KernelError as error:
        warnings.append(f"the leases of rule {rule} were not read to their end: {error}")


def _texts(part: _Part) -> list[str]:
    """Each as the JSON text of a LeaseReport, at a quarter of json's own time."""
    family, members = part
    return [
        f'{{"address": "{inet_ntop(family, address)}", "name": {quoted(name)}, '
        f'"expires_in_s": {expires_ms / 1000}, "packets": {packets}, "bytes": {octets}}}'
        for address, expires_ms, name, packets, octets in members
    ]


def _columns(part: _Part) -> str:
    """All of them as the JSON text of LeaseColumns, at less than half of that."""
    family, members = part
    addresses, expires_ms, names, packets, octets = zip(*members, strict=True)
    return json.dumps(
        {
            "address": [inet_ntop(family, address) for address in addresses],
            "name": names,
            "expires_in_ms": expires_ms,
            "packets": packets,
            "bytes": octets,
        }
    )
