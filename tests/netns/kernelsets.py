"""Reads set elements from the kernel, one in 30 µs: for tests that look after every answer.

Knows nf_tables' netlink layout (include/uapi/linux/netfilter/nf_tables.h) and
shares no code with `dynallow.firewall`: the reader of a proof must not be
written by the defendant. `test_told_ttl.py` compares it with `nft`.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

from tests.lab.namespace import Namespace

_NETLINK_NETFILTER = 12
_GETSETELEM = (10 << 8) | 13
_NEWSETELEM = (10 << 8) | 12
_ERROR, _DONE = 2, 3
_REQUEST, _DUMP = 0x1, 0x300
_NESTED = 0x8000
_TABLE, _SET, _ELEMENTS = 1, 2, 3
_KEY, _EXPIRATION = 1, 5
_INET = 1


class KernelSets:
    """The sets of `table inet dynallow` in `host`, as name → address → seconds left."""

    def __init__(self, host: Namespace) -> None:
        with host.entered():
            self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._sock.settimeout(30)
        self._sock.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        self._sock.close()

    def left_s(self, rule: str, address: str) -> float | None:
        """Seconds that the address has left in the rule's set, None when it is not there."""
        packed = ip_address(address).packed
        key = _attribute(_KEY | _NESTED, _attribute(1, packed))
        elements = _attribute(_ELEMENTS | _NESTED, _attribute(1 | _NESTED, key))
        found = self._ask(_set_name(rule, packed), elements, _REQUEST)
        return found.get(address)

    def members(self, rule: str) -> dict[str, float]:
        """Every address in the rule's two sets, with the seconds that it has left."""
        four = self._ask(f"{rule}_v4", b"", _REQUEST | _DUMP)
        return four | self._ask(f"{rule}_v6", b"", _REQUEST | _DUMP)

    def _ask(self, set_name: str, elements: bytes, flags: int) -> dict[str, float]:
        self._sequence += 1
        body = struct.pack(">BBH", _INET, 0, 0) + _attribute(_TABLE, b"dynallow\0")
        body += _attribute(_SET, set_name.encode() + b"\0") + elements
        self._sock.send(struct.pack("=IHHII", 16 + len(body), _GETSETELEM, flags, self._sequence, 0) + body)
        found: dict[str, float] = {}
        while True:
            for kind, sequence, payload in _messages(self._sock.recv(1 << 17)):
                if sequence != self._sequence:
                    continue
                if kind == _NEWSETELEM:
                    found.update(_elements(payload))
                    if flags & _DUMP != _DUMP:
                        return found
                if kind == _ERROR and (number := -struct.unpack_from("=i", payload)[0]) not in (
                    0,
                    errno.ENOENT,
                ):
                    raise OSError(number, os.strerror(number))
                if kind in (_ERROR, _DONE):
                    return found


def _set_name(rule: str, packed: bytes) -> str:
    return f"{rule}_v{4 if len(packed) == 4 else 6}"


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at + 16 <= len(data):
        length, kind, _flags, sequence, _port = struct.unpack_from("=IHHII", data, at)
        yield kind, sequence, data[at + 16 : at + length]
        at += (length + 3) & ~3


def _elements(payload: bytes) -> Iterator[tuple[str, float]]:
    for kind, elements in _attributes(payload[4:]):
        if kind == _ELEMENTS:
            for _, element in _attributes(elements):
                values = dict(_attributes(element))
                key = dict(_attributes(values[_KEY]))[1]
                milliseconds = int.from_bytes(values.get(_EXPIRATION, b""), "big")
                yield str(ip_address(key)), milliseconds / 1000


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3
