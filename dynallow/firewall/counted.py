"""The elements of a flow set as nfnetlink messages: asked for, read, and kept for the next agent.

Pure bytes: knows no socket (that is `tallies.py`) and not what was told before. Layout:
include/uapi/linux/netfilter/nf_tables.h; the kernel gives key, counter and what is left of an element's life,
in this order. Keeps: what is laid out otherwise is read attribute by attribute, what is cut short is passed
over; never misread.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from dynallow.firewall.listing import attributes
from dynallow.firewall.ruleset import NO_USER

_NEWSETELEM = (10 << 8) | 12
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_ATTR = struct.Struct("=HH")
_ERRNO = struct.Struct("=i")
_NFGEN_SIZE = 4
_TYPE_MASK = 0x3FFF
_LIST_ELEMENTS = 3
_ELEM_KEY, _ELEM_EXPIRATION, _ELEM_USERDATA, _ELEM_EXPR = 1, 5, 6, 7
KEY_SIZES: Final = {4: 16, 6: 28}
"""Address, then protocol, port and uid in four bytes each."""


class Counted(NamedTuple):
    """An element of a flow set."""

    key: bytes
    packets: int
    octets: int
    expires_ms: int
    carried: bool
    """It has a comment: it was made with the table anew, and its counter goes on from an earlier one."""


class Part(NamedTuple):
    """What one datagram of a dump held."""

    flows: list[Counted]
    done: bool
    errno: int


class Flow(NamedTuple):
    """A key taken apart."""

    address: bytes
    protocol: int
    port: int
    uid: int | None


def flow_of(key: bytes) -> Flow:
    """What an element counts. The kernel has each part at the beginning of its four bytes."""
    address, rest = key[:-12], key[-12:]
    uid = int.from_bytes(rest[8:], _ORDER)
    return Flow(address, rest[0], int.from_bytes(rest[4:6], "big"), None if uid == NO_USER else uid)


_ORDER: Final = "little" if struct.pack("=H", 1) == b"\1\0" else "big"  # a uid is in the host's


def _layout(key: int) -> tuple[struct.Struct, tuple[bytes, ...]]:
    """An element as the kernel gives it, and the headers between its values."""
    counter = b"".join(
        (_ATTR.pack(44, _ELEM_EXPR), _ATTR.pack(12, 1), b"counter\0", _ATTR.pack(28, 2), _ATTR.pack(12, 1))
    )
    heads = (
        _ATTR.pack(8 + key, _ELEM_KEY) + _ATTR.pack(4 + key, 1),
        counter,
        _ATTR.pack(12, 2),
        _ATTR.pack(12, _ELEM_EXPIRATION),
    )
    return struct.Struct(f">8s{key}s24sQ4sQ4sQ"), heads


_new = tuple.__new__  # what Counted(...) calls in the end, at half the price
_LAYOUTS = {size: _layout(size) for size in KEY_SIZES.values()}


def parse_flows(datagram: bytes, size: int) -> Part:
    """The elements with keys of `size` bytes in one datagram of a dump."""
    flows: list[Counted] = []
    offset, total = 0, len(datagram)
    while offset + _HEADER.size <= total:
        length, kind, _, _, _ = _HEADER.unpack_from(datagram, offset)
        end = offset + length
        if length < _HEADER.size or end > total:
            break
        if kind == _NEWSETELEM:
            listed = attributes(datagram[:end], offset + _HEADER.size + _NFGEN_SIZE).get(_LIST_ELEMENTS)
            if listed is not None:
                _read(listed, size, flows)
        elif kind in (_NLMSG_ERROR, _NLMSG_DONE):
            at = offset + _HEADER.size
            number = -_ERRNO.unpack_from(datagram, at)[0] if at + _ERRNO.size <= end else 0
            return Part(flows, True, number)
        offset += (length + 3) & ~3
    return Part(flows, False, 0)


def _read(listed: bytes, size: int, flows: list[Counted]) -> None:
    layout, heads = _LAYOUTS[size]
    usual = 4 + layout.size
    offset, total = 0, len(listed)
    while offset + 4 <= total:
        length, _ = _ATTR.unpack_from(listed, offset)
        end = offset + length
        if length < 4 or end > total:
            return
        if length == usual:
            head, key, counter, octets, second, packets, left, expires_ms = layout.unpack_from(
                listed, offset + 4
            )
            if (head, counter, second, left) == heads:
                flows.append(_new(Counted, (key, packets, octets, expires_ms, False)))
                offset = end
                continue
        found = _unusual(listed[offset + 4 : end], size)
        if found is not None:
            flows.append(found)
        offset += (length + 3) & ~3


def _unusual(element: bytes, size: int) -> Counted | None:
    """Attribute by attribute."""
    told = attributes(element)
    key = attributes(told.get(_ELEM_KEY, b"")).get(1, b"")
    counter = attributes(attributes(told.get(_ELEM_EXPR, b"")).get(2, b""))
    octets, packets, left = counter.get(1, b""), counter.get(2, b""), told.get(_ELEM_EXPIRATION, b"")
    if len(key) != size or not len(octets) == len(packets) == len(left) == 8:
        return None
    numbers = (int.from_bytes(packets, "big"), int.from_bytes(octets, "big"), int.from_bytes(left, "big"))
    return Counted(key, *numbers, _ELEM_USERDATA in told)
