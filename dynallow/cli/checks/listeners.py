"""Who listens on a port, from /proc: no other program need be installed.

Reading other users' /proc/PID/fd takes root; without it the process stays unknown.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from dynallow.units import Address, Protocol

SERVICE_MANAGER = 1
_TCP_LISTEN, _UDP_UNCONNECTED = "0A", "07"


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that takes packets on a port; pid and process None when they may not be seen."""

    protocol: Protocol
    address: Address
    pid: int | None
    process: str | None

    def covers(self, address: Address) -> bool:
        """Whether it takes what is sent to `address` (or would be in the way of listening there)."""
        if self.address == address:
            return True
        return self.address.is_unspecified and (self.address.version == 6 or address.version == 4)

    def __str__(self) -> str:
        who = "a process that only root may see" if self.pid is None else f"{self.process} (pid {self.pid})"
        return f"{who} on {self.address} {self.protocol}"


def read_listeners(proc: Path, port: int) -> list[Listener]:
    """Everybody who listens on `port`."""
    sockets = [
        (protocol, address, inode)
        for protocol, state in (("tcp", _TCP_LISTEN), ("udp", _UDP_UNCONNECTED))
        for family in ("", "6")
        for address, inode in _sockets(proc / "net" / f"{protocol}{family}", port, state)
    ]
    owners = _owners(proc, {inode for _, _, inode in sockets}) if sockets else {}
    return [
        Listener("tcp" if protocol == "tcp" else "udp", address, *owners.get(inode, (None, None)))
        for protocol, address, inode in sockets
    ]


def _sockets(table: Path, port: int, state: str) -> Iterator[tuple[Address, str]]:
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        words = line.split()
        address, _, number = words[1].partition(":")
        if int(number, 16) == port and words[3] == state:
            yield parse_address(address), words[9]


def parse_address(digits: str) -> Address:
    """The kernel prints an address as 32-bit words in the host's own byte order."""
    raw = bytes.fromhex(digits)
    if sys.byteorder == "little":
        raw = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return IPv4Address(raw) if len(raw) == 4 else _unmapped(IPv6Address(raw))


def _unmapped(address: IPv6Address) -> Address:
    return ip_address(address.ipv4_mapped) if address.ipv4_mapped else address


def _owners(proc: Path, inodes: set[str]) -> dict[str, tuple[int, str]]:
    owners: dict[str, tuple[int, str]] = {}
    for pid, process in processes(proc):
        for inode in _inodes(proc / str(pid) / "fd"):
            # What systemd holds open for a service is the service's, once it has it.
            if inode in inodes and (pid != SERVICE_MANAGER or inode not in owners):
                owners[inode] = (pid, process)
    return owners


def processes(proc: Path) -> Iterator[tuple[int, str]]:
    """Each process with its name; those that end meanwhile are left out."""
    for entry in os.listdir(proc):
        if entry.isdigit():
            try:
                yield int(entry), (proc / entry / "comm").read_text().strip()
            except OSError:
                continue


def _inodes(descriptors: Path) -> Iterator[str]:
    try:
        entries = os.listdir(descriptors)
    except OSError:
        return
    for entry in entries:
        try:
            target = os.readlink(descriptors / entry)
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target[8:-1]
