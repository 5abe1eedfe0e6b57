"""resolv.conf's name servers, as glibc reads them."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from dynallow.units import Address


def name_servers(path: Path) -> tuple[Address, ...]:
    """The addresses in the file's order; none when there is no such file (glibc then asks 127.0.0.1)."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return ()
    servers: list[Address] = []
    for line in text.splitlines():
        words = line.split()
        # glibc: the keyword starts the line; comments start with # or ; and so never match.
        if len(words) > 1 and words[0] == "nameserver" and line.startswith("nameserver"):
            try:
                servers.append(ip_address(words[1]))
            except ValueError:
                continue
    return tuple(servers)
