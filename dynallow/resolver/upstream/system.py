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
    """The servers of the first file that names one beside dynallow itself.

    A loopback address is another stub (systemd-resolved's 127.0.0.53): the
    servers behind it are asked instead, since the chain would not let the stub
    reach them. Only when no file names any other is a stub taken.

    Returns an empty list when no file names a server: the caller must say so.
    """
    named = [[address for address in _servers(file) if address not in ours] for file in files]
    beyond = [[address for address in servers if not address.is_loopback] for servers in named]
    found: list[Address] = next(filter(None, (*beyond, *named)), [])
    return [Endpoint(address, 53) for address in found]


def _servers(file: Path) -> list[Address]:
    try:
        with file.open() as text:
            resolver = dns.resolver.Resolver(configure=False)
            resolver.read_resolv_conf(text)
    except (OSError, ValueError, dns.exception.DNSException):  # ValueError: no address, no UTF-8
        return []
    # A zone index ("fe80::1%eth0") needs a scoped socket; such servers come from routers that
    # also announce a global one.
    texts = [str(server) for server in resolver.nameservers if isinstance(server, str)]
    return [ip_address(text) for text in texts if "%" not in text]
