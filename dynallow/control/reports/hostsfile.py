"""What a hosts file says of a name: most programs look there first, and never ask dynallow.

Knows hosts(5). Must not know policy or leases. Keeps: the file is read when somebody asks, and only to tell.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

HOSTS = Path("/etc/hosts")


def addresses_in(path: Path, name: str) -> list[str]:
    """The addresses that the file gives to `name` (text in lower case), each once; none without a file."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found: dict[str, None] = {}
    for line in lines:
        address, *names = line.partition("#")[0].split() or [""]
        if name in (given.lower().removesuffix(".") for given in names) and _is_address(address):
            found[address] = None
    return list(found)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def names_in(path: Path, packed: bytes) -> list[str]:
    """The names that the file gives to a packed address, in lower case, each once; none without a file."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found: dict[str, None] = {}
    for line in lines:
        address, *names = line.partition("#")[0].split() or [""]
        if _is_address(address) and ip_address(address).packed == packed:
            found |= dict.fromkeys(given.lower().removesuffix(".") for given in names)
    return list(found)
