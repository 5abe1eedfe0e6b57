"""Which settings are not in force yet, and which a reload cannot change.

Knows the state of the other rooms in one place, so that no key is ignored silently.
"""

from __future__ import annotations

from collections.abc import Iterator

from dynallow.policy.names import to_wire
from dynallow.policy.reserved import reserved, why_reserved
from dynallow.settings.model import RuleSettings, Settings
from dynallow.units import PortRange

DNS_PORTS = (53, 853, 5353, 5355)
"""Ports that only the agent may use, whatever a rule says: DNS, DoT, mDNS, LLMNR."""


def not_in_force(settings: Settings) -> tuple[str, ...]:
    """One line for each key given whose feature comes later, or that can have no effect."""
    lines: list[str] = []
    for rule in settings.rules:
        lines += _reserved(rule)
    for kind, sections in (("rule", settings.rules), ("destination", settings.destinations)):
        for section in sections:
            lines += _dns_ports(f"{kind} {section.name}", section.ports)
    return tuple(lines)


def _reserved(rule: RuleSettings) -> Iterator[str]:
    for pattern in rule.names:
        top = reserved(to_wire(pattern.labels, ""))
        if top is not None:
            yield f"rule {rule.name}: {pattern} has no effect, {why_reserved(top)}"


def _dns_ports(where: str, ports: tuple[PortRange, ...]) -> Iterator[str]:
    for port in ports:
        if port.first == port.last and port.first in DNS_PORTS:
            yield f"{where}: {port} has no effect, DNS goes to dynallow alone"


def needs_restart(old: Settings, new: Settings) -> tuple[str, ...]:
    """The keys that differ and that only a restart can change: sockets are opened once, at start."""
    pairs = (
        ("resolver.listen", old.resolver.listen, new.resolver.listen),
        ("control.socket", old.control.socket, new.control.socket),
        ("control.metrics", old.control.metrics, new.control.metrics),
    )
    return tuple(key for key, before, after in pairs if before != after)
