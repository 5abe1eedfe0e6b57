"""Quantities that a person writes, and how they read back.

Floor 0, pure. Every parser raises ValueError whose text starts with
"expected …, got …", so that a boundary only has to add the place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal

Address = IPv4Address | IPv6Address
Protocol = Literal["tcp", "udp"]

_BYTES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"(\d{1,9})(KiB|MiB|GiB)")
_RATE = re.compile(r"(\d+)/(second|minute|hour|day)")
_RATE_MAX = 2**32 - 1  # the kernel's burst is of 32 bits
_PORT = re.compile(r"(tcp|udp)/(\d{1,5})(?:-(\d{1,5}))?")
_PORT_MAX = 65535


def parse_size(text: str) -> int:
    """Bytes from "512KiB", "64MiB", "1GiB"."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f'expected a size such as "64MiB", got "{text}"')
    return int(match[1]) * _BYTES[match[2]]


def format_size(size: int) -> str:
    """In the largest unit that gives a whole number: 67108864 → "64MiB"."""
    unit = next((unit for unit in ("GiB", "MiB") if size and size % _BYTES[unit] == 0), "KiB")
    return f"{size // _BYTES[unit]}{unit}"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many events in a unit of time, as nft's `limit rate` takes it."""

    count: int
    per: str

    def __str__(self) -> str:
        return f"{self.count}/{self.per}"


def parse_rate(text: str) -> Rate:
    """A rate from "50/second"."""
    match = _RATE.fullmatch(text)
    if match is None or not 0 < int(match[1]) <= _RATE_MAX:
        raise ValueError(f'expected a rate such as "50/second", got "{text}"')
    return Rate(int(match[1]), match[2])


@dataclass(frozen=True, slots=True, order=True)
class PortRange:
    """A protocol with the ports first…last, both included."""

    protocol: Protocol
    first: int
    last: int

    def __str__(self) -> str:
        ports = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{self.protocol}/{ports}"

    def __contains__(self, other: object) -> bool:
        return (
            isinstance(other, PortRange)
            and self.protocol == other.protocol
            and self.first <= other.first
            and other.last <= self.last
        )


def parse_port(text: str) -> PortRange:
    """A port or range from "tcp/443" or "tcp/6000-6010"."""
    match = _PORT.fullmatch(text)
    if match is not None:
        first, last = int(match[2]), int(match[3] or match[2])
        if 0 < first <= last <= _PORT_MAX:
            return PortRange("tcp" if match[1] == "tcp" else "udp", first, last)
    raise ValueError(f'expected "tcp/PORT", "udp/PORT" or "tcp/FIRST-LAST", got "{text}"')


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """An address and a port; prints as "127.0.0.1:53" or "[::1]:53"."""

    address: Address
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


def parse_endpoint(text: str, default_port: int | None = None) -> Endpoint:
    """An endpoint from "127.0.0.1:53", "[::1]:53" or, with `default_port`, a bare address."""
    match = re.fullmatch(r"\[([0-9a-fA-F:.]+)\](?::(\d{1,5}))?|([0-9.]+)(?::(\d{1,5}))?", text)
    try:
        if match is not None:
            address, digits = ip_address(match[1] or match[3]), match[2] or match[4]
        else:
            address, digits = ip_address(text), None
        port = default_port if digits is None else int(digits)
        if port is not None and 0 < port <= _PORT_MAX:
            return Endpoint(address, port)
    except ValueError:
        pass
    raise ValueError(f'expected "ADDRESS:PORT" or "[ADDRESS]:PORT", got "{text}"')
