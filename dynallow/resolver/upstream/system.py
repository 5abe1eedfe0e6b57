"""The servers that the host's own configuration names (`upstreams = ["system"]`)."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from pathlib import Path

import dns.exception
import dns.resolver

from dynallow.units import Address, Endpoint

# Where the real servers stand when resolv.conf names only a stub (ours, or systemd-resolved's).
RESOLV_CONF = (
    Path("/etc/resolv.conf"),
    Path("/run/systemd/resolve/resolv.conf"),
    Path("/run/NetworkManager/no-stub-resolv.conf"),
)


def system_servers(ours: Collection[Address], files: Collection[Path] = RESOLV_CONF) -> list[Endpoint]:
    """The first file's servers that are not dynallow itself or another loopback stub of its own.

    Returns an empty list when no file names one: the caller must say so.
    """
    for file in files:
        servers = [address for address in _servers(file) if address not in ours]
        if servers:
            return [Endpoint(address, 53) for address in servers]
    return []


def _servers(file: Path) -> list[Address]:
    try:
        with file.open() as text:
            resolver = dns.resolver.Resolver(configure=False)
            resolver.read_resolv_conf(text)
    except (OSError, dns.exception.DNSException):
        return []
    # A zone index ("fe80::1%eth0") needs a scoped socket; such servers come from routers that
    # also announce a global one.
    texts = [str(server) for server in resolver.nameservers if isinstance(server, str)]
    return [ip_address(text) for text in texts if "%" not in text]
