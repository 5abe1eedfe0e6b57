"""What a hosts file says of a name: most programs look there first, and never ask dynallow.

Knows hosts(5). Must not know policy or leases. Keeps: the file is read when somebody asks, and only to tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

HOSTS = Path("/etc/hosts")


def addresses_in(path: Path, name: str) -> list[str]:
    """The addresses that the file gives to `name` (text in lower case), each once; none without a file."""
    return list(dict.fromkeys(address for address, _, names in _entries(path) if name in names))


def names_in(path: Path, packed: bytes) -> list[str]:
    """The names that the file gives to a packed address, in lower case, each once; none without a file."""
    return list(
        dict.fromkeys(name for _, given, names in _entries(path) if given == packed for name in names)
    )


def _entries(path: Path) -> Iterator[tuple[str, bytes, list[str]]]:
    """Address as it is written, packed, and its names in lower case."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        address, *names = line.partition("#")[0].split() or [""]
        try:
            packed = ip_address(address).packed
        except ValueError:
            continue
        yield address, packed, [name.lower().removesuffix(".") for name in names]
