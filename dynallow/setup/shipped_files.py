"""The files that come with dynallow (`systemd/` and `config/` of the tree), as they are to stand on a host.

Knows the package's `shipped/` directory and where systemd looks. Keeps: a unit names the program that is
installed, and no other.
"""

from __future__ import annotations

import re
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath

UNITS = "/etc/systemd/system"
PACKAGED_UNITS = ("/usr/lib/systemd/system", "/lib/systemd/system")
SETTINGS = "/etc/dynallow"
SYSUSERS = "/etc/sysusers.d/dynallow.conf"
TMPFILES = "/etc/tmpfiles.d/dynallow.conf"
SERVICE, FIREWALL = "dynallow.service", "dynallow-firewall.service"
SOCKET, SOCKET_6 = "dynallow.socket", "dynallow-ipv6.socket"
_PROGRAM = "/opt/dynallow/bin/dynallow"
_PREFIX = "/opt/dynallow"


def units(program: str, *, ipv6: bool) -> dict[str, bytes]:
    """Unit name → text, for the program at `program` (an absolute path)."""
    names = (FIREWALL, SOCKET, *((SOCKET_6,) if ipv6 else ()), SERVICE)
    return {name: _unit(_read("systemd", name), program, ipv6).encode() for name in names}


def snippets() -> dict[str, bytes]:
    """Path → text of what makes user and directories."""
    return {
        SYSUSERS: _read("systemd", "sysusers.d", "dynallow.conf").encode(),
        TMPFILES: _read("systemd", "tmpfiles.d", "dynallow.conf").encode(),
    }


def settings() -> dict[str, bytes]:
    """Path → text of the annotated settings, the name lists and the examples."""
    return dict(_below(_shipped().joinpath("config"), SETTINGS))


def wanted_by(unit: str) -> list[str]:
    """The units that start this one at boot."""
    return re.findall(r"^WantedBy=(.*)$", unit, re.MULTILINE)


def program_of(unit: str) -> str | None:
    """The program that a service starts."""
    found = re.findall(r"^ExecStart=.*?(/\S*/dynallow) ", unit, re.MULTILINE)
    return found[-1] if found else None


def _unit(text: str, program: str, ipv6: bool) -> str:
    if not ipv6:
        text = text.replace(f" {SOCKET_6}", "")
    text = text.replace(_PROGRAM, program)
    prefix = str(PurePosixPath(program).parent.parent)
    return re.sub(r"(?m)^(RequiresMountsFor=.*)$", lambda line: line[1].replace(_PREFIX, prefix, 1), text)


def _shipped() -> Traversable:
    return resources.files("dynallow.setup").joinpath("shipped")


def _read(*path: str) -> str:
    return _shipped().joinpath(*path).read_text(encoding="utf-8")


def _below(directory: Traversable, path: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in sorted(directory.iterdir(), key=lambda each: each.name):
        here = f"{path}/{entry.name}"
        found += _below(entry, here) if entry.is_dir() else [(here, entry.read_bytes())]
    return found
