"""The servers that the host's own configuration names (`upstreams = ["system"]`)."""

from __future__ import annotations

from collections.abc import Collection, Container
from ipaddress import ip_address
from pathlib import Path

from dynallow.units import Address, Endpoint

# Where the real servers stand when resolv.conf names only a stub (ours, or systemd-resolved's).
RESOLV_CONF = (
    Path("/etc/resolv.conf"),
    Path("/run/systemd/resolve/resolv.conf"),
    Path("/run/NetworkManager/no-stub-resolv.conf"),
)


def system_servers(ours: Container[Address], files: Collection[Path] = RESOLV_CONF) -> list[Endpoint]:
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
    """The file's nameserver lines that hold an address; the others are of no use, and do no harm.

    A zone index ("fe80::1%eth0") needs a scoped socket; such servers come from
    routers that announce a global one too.
    """
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return []
    words = (line.split() for line in lines)
    return [
        address
        for word in words
        if word[:1] == ["nameserver"] and len(word) > 1 and (address := _address(word[1])) is not None
    ]


def _address(text: str) -> Address | None:
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None
