"""What an install or uninstall needs to know of the host beside its files.

Looks, and changes nothing: systemd, the user database, /proc. Keeps: under another root than / no program
of this machine is asked about it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dynallow.setup.shipped_files import FIREWALL, SERVICE, SOCKET, SOCKET_6
from dynallow.setup.things import File, Root

USER = "dynallow"
_RULERS = ("systemd-resolved.service", "NetworkManager.service")
_OWN = (SERVICE, SOCKET, SOCKET_6, FIREWALL)
_IPV6 = Path("/proc/net/if_inet6")
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Found:
    """The host: whether it runs, which services are active on it, and what else bears on the plan."""

    live: bool
    active: frozenset[str] = frozenset()
    has_user: bool = False
    has_table: bool = False
    has_state: bool = False
    ipv6: bool = True


def find(root: Root) -> Found:
    """Look at the host under `root`."""
    has_user = _has_user(root)
    has_state = os.path.lexists(root.at("/var/lib/dynallow"))
    if not root.is_live:
        return Found(False, has_user=has_user, has_state=has_state)
    return Found(
        True,
        active=_active((*_RULERS, *_OWN)),
        has_user=has_user,
        has_table=_does(("nft", "list", "table", "inet", "dynallow")),
        has_state=has_state,
        ipv6=_has_ipv6(),
    )


def _has_user(root: Root) -> bool:
    """By the root's own file: a directory service has no dynallow."""
    passwd = root.look("/etc/passwd")
    return isinstance(passwd, File) and any(
        line.startswith(f"{USER}:".encode()) for line in passwd.content.splitlines()
    )


def _has_ipv6() -> bool:
    try:
        return any(line.split()[0] == "0" * 31 + "1" for line in _IPV6.read_text().splitlines())
    except OSError:
        return False


def _active(units: Sequence[str]) -> frozenset[str]:
    try:
        asked = subprocess.run(
            ["systemctl", "is-active", *units],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        return frozenset()
    states = asked.stdout.split()
    return frozenset(unit for unit, state in zip(units, states, strict=False) if state == "active")


def _does(argv: Sequence[str]) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, timeout=_TIMEOUT_S, check=False).returncode == 0
    except FileNotFoundError:
        return False
