"""Which settings are not in force yet, and which a reload cannot change.

Knows the state of the other rooms in one place, so that no key is ignored silently.
"""

from __future__ import annotations

from collections.abc import Iterator

from dynallow.settings.model import Settings
from dynallow.units import PortRange

DNS_PORTS = (53, 853, 5353, 5355)
"""Ports that only the agent may use, whatever a rule says: DNS, DoT, mDNS, LLMNR."""


def not_in_force(settings: Settings) -> tuple[str, ...]:
    """One line for each key given whose feature comes later, or that can have no effect."""
    lines: list[str] = []
    if settings.resolver.search_suffixes:
        lines.append("resolver.search-suffixes: not in force yet, names are matched as asked")
    for kind, sections in (("rule", settings.rules), ("destination", settings.destinations)):
        for section in sections:
            lines += _dns_ports(f"{kind} {section.name}", section.ports)
    return tuple(lines)


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
