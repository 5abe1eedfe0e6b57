"""Metrics of what is in force: the policy and its changes, upstreams, sets, and the kernel's own count.

Labels are rules and servers from the settings. The kernel is asked when somebody scrapes, in the scraper's
thread; where it does not tell, those families are empty, and the rest is told all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime

from dynallow import __version__
from dynallow.control.metrics import Family
from dynallow.control.reports.source import Source
from dynallow.errors import KernelError
from dynallow.firewall.present import read_counts, read_denied
from dynallow.firewall.ruleset import Family as Version
from dynallow.firewall.ruleset import set_name

log = logging.getLogger(__name__)

_FAMILIES: tuple[tuple[Version, str], ...] = ((4, "ipv4"), (6, "ipv6"))


def policy_families(agent: Source) -> Iterator[Family]:
    """Which policy, since when, and how the last reload went."""
    policy = agent.policy_log
    yield Family("dynallow_info", "The agent's version.", "gauge", (({"version": __version__}, 1.0),))
    yield _moment("dynallow_start", "When the agent started.", agent.since.timestamp())
    yield _moment("dynallow_mode_changed", "Since when the mode is what it is.", agent.mode_since.timestamp())
    yield Family(
        "dynallow_policy_generation",
        "Policies that have been in force since the agent's start, this one included.",
        "gauge",
        (({}, float(policy.generation)),),
    )
    yield _moment("dynallow_policy_changed", "Since when this policy is in force.", policy.changed_at)
    yield Family(
        "dynallow_reloads_total",
        "Reloads by how they ended.",
        "counter",
        tuple(({"outcome": outcome}, float(count)) for outcome, count in policy.reloads.items()),
    )
    yield Family(
        "dynallow_reload_successful",
        "1 unless the last reload failed and the old policy stayed.",
        "gauge",
        (({}, float(policy.reload_done)),),
    )
    yield _moment("dynallow_confirm_deadline", "When a change goes back; 0: none waits.", _deadline(agent))
    yield Family(
        "dynallow_history_failing",
        "1 while the history cannot be written.",
        "gauge",
        (({}, float(agent.sight.why_not is not None)),),
    )
    yield Family(
        "dynallow_rule_expires_timestamp_seconds",
        "When a rule ends, of those that do.",
        "gauge",
        tuple(
            ({"rule": rule.name}, rule.expires_at)
            for rule in agent.loaded.policy.rules
            if rule.expires_at is not None
        ),
    )


def upstream_families(agent: Source) -> Iterator[Family]:
    """How each server does."""
    servers = list(agent.road.upstreams.all())
    yield Family(
        "dynallow_upstream_healthy",
        "1 if a server answers.",
        "gauge",
        tuple(({"server": server.name}, float(server.healthy)) for server in servers),
    )
    yield Family(
        "dynallow_upstream_latency_seconds",
        "Time until a server answers, smoothed over about eight answers.",
        "gauge",
        tuple(
            ({"server": server.name}, server.latency_s) for server in servers if server.latency_s is not None
        ),
    )


def kernel_families(agent: Source) -> Iterator[Family]:
    """What the kernel holds. Blocks for as long as netlink takes: some 0.1 ms."""
    rules = [rule.name for rule in agent.settings.rules]
    yield Family(
        "dynallow_lease_limit",
        "Most leases that a rule may have: lease.max-per-rule.",
        "gauge",
        tuple(({"rule": rule}, float(agent.settings.lease.max_per_rule)) for rule in rules),
    )
    try:
        counts, denied = read_counts(), read_denied()
    except KernelError as error:
        log.debug("metrics without the kernel's part: %s", error)
        return
    elements = [
        ({"rule": rule, "family": family}, counts.get(set_name(rule, version)))
        for rule in rules
        for version, family in _FAMILIES
    ]
    yield Family(
        "dynallow_set_elements",
        "Elements of a rule's set in the kernel; also lapsed ones that it has not collected yet.",
        "gauge",
        tuple((labels, float(count)) for labels, count in elements if count is not None),
    )
    yield Family(
        "dynallow_denied_packets_total",
        "Packets that the chain has denied (mode observe: would have); the kernel's count, exact.",
        "counter",
        (({}, float(denied[0])),),
    )
    yield Family(
        "dynallow_denied_bytes_total",
        "Bytes of those packets.",
        "counter",
        (({}, float(denied[1])),),
    )


def _deadline(agent: Source) -> float:
    pending = agent.pending()
    return 0.0 if pending is None else datetime.fromisoformat(pending["until"]).timestamp()


def _moment(name: str, text: str, at: float) -> Family:
    return Family(f"{name}_timestamp_seconds", f"{text} Unix time.", "gauge", (({}, at),))
