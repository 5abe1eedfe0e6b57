"""The kernel's flows (conntrack entries) as bytes: asked for, read, told to count for nothing.

By hand because a table of 100,000 entries is looked through while questions are answered: pyroute2
takes 750 µs an entry, all of it with the interpreter held; this takes 2.7, the kernel's part included.
Pure bytes: knows no socket (that is `conntrack.py`) and no lease. Layout:
include/uapi/linux/netfilter/nfnetlink_conntrack.h; an entry begins with its original tuple, addresses first
(ctnetlink_fill_info). Keeps: what is laid out otherwise is passed over, never misread.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import NamedTuple

from dynallow.firewall.listing import attributes

_CT_NEW, _CT_GET = 0x100, 0x101  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_*
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_F_REQUEST, _F_ACK, _F_DUMP, _F_DUMP_INTR = 0x1, 0x4, 0x300, 0x10
_NESTED = 0x8000
_ORIGINAL, _PROTOINFO, _MARK, _ZONE, _FILTER = 1, 4, 8, 18, 25
_FILTER_ORIGINAL, _FILTER_REPLY, _BY_DESTINATION = 1, 2, 1 << 1
_HEADER = struct.Struct("=IHHII")
_NFGEN = struct.Struct(">BBH")
_ATTR = struct.Struct("=HH")
_ERRNO = struct.Struct("=i")
_BODY = _HEADER.size + _NFGEN.size
_FAMILIES = {4: 2, 16: 10}  # AF_INET, AF_INET6 by the size of an address
TCP, UDP = 6, 17
# Where the original tuple's destination begins, with the header of its attribute: behind those of
# the tuple, of the addresses, and the source.
_AT = {size: _BODY + 4 + 4 + 4 + size for size in _FAMILIES}
_HEADS = {size: _ATTR.pack(4 + size, 2 if size == 4 else 4) for size in _FAMILIES}  # CTA_IP_V4_DST, _V6_DST
# Of TCP_CONNTRACK_*: SYN_SENT to CLOSE_WAIT. What is beyond them ends by itself.
_TCP_ALIVE = frozenset((1, 2, 3, 4, 5))


class Flow(NamedTuple):
    """A flow by the end that began it: for the flows from here, `source` is this host."""

    protocol: int
    source: bytes
    source_port: int
    address: bytes
    port: int
    mark: int
    alive: bool
    """It may go on: no TCP connection that is closing or closed."""
    tuple: bytes
    """How the kernel names it: the original tuple's attribute, and its zone's where it has one."""


class FlowPart(NamedTuple):
    """What one datagram of a dump held."""

    flows: list[Flow]
    done: bool
    errno: int
    interrupted: bool


def flows_request(size: int, sequence: int, address: bytes | None = None) -> bytes:
    """Ask for every flow of the family whose addresses have `size` bytes; to `address` alone if given.

    The filter (CTA_FILTER, Linux 5.8) is left aside by kernels that do not know it.
    """
    body = _NFGEN.pack(_FAMILIES[size], 0, 0)
    if address is not None:
        ip = _attr(2 if size == 4 else 4, address)
        body += _attr(_ORIGINAL | _NESTED, _attr(1 | _NESTED, ip))
        flags = struct.pack("=I", _BY_DESTINATION)
        body += _attr(
            _FILTER | _NESTED, _attr(_FILTER_ORIGINAL, flags) + _attr(_FILTER_REPLY, struct.pack("=I", 0))
        )
    return _message(_CT_GET, _F_DUMP, sequence, body)


def parse_flows(datagram: bytes, wanted: Collection[bytes], size: int) -> FlowPart:
    """The flows to addresses in `wanted`, made by `keys`, of one datagram of a dump."""
    found: list[Flow] = []
    at, end = _AT[size], _AT[size] + 4 + size
    offset, total = 0, len(datagram)
    interrupted = False
    unpack = _HEADER.unpack_from
    while offset + 16 <= total:
        length, kind, flags, _, _ = unpack(datagram, offset)
        if length < 16 or offset + length > total:
            break
        if kind == _CT_NEW:
            if datagram[offset + at : offset + end] in wanted:
                flow = _flow(datagram[offset + _BODY : offset + length], size)
                if flow is not None:
                    found.append(flow)
        elif kind in (_NLMSG_DONE, _NLMSG_ERROR):
            number = -_ERRNO.unpack_from(datagram, offset + 16)[0] if length >= 20 else 0
            return FlowPart(found, True, number, interrupted or bool(flags & _F_DUMP_INTR))
        interrupted = interrupted or bool(flags & _F_DUMP_INTR)
        offset += (length + 3) & ~3
    return FlowPart(found, False, 0, interrupted)


def keys(addresses: Collection[bytes], size: int) -> frozenset[bytes]:
    """What to look for in a dump: the addresses of this size, as they stand there."""
    return frozenset(_HEADS[size] + address for address in addresses if len(address) == size)


def mark_request(flows: Collection[Flow], mark: int, sequence: int) -> bytes:
    """Set the mark of these, each a message of its own; the kernel answers each, with an error or 0."""
    marked = _attr(_MARK, mark.to_bytes(4, "big"))
    return b"".join(
        _message(
            _CT_NEW, _F_ACK, sequence, _NFGEN.pack(_FAMILIES[len(flow.address)], 0, 0) + flow.tuple + marked
        )
        for flow in flows
    )


def _flow(body: bytes, size: int) -> Flow | None:
    """An entry whose first attribute is its original tuple."""
    found = attributes(body)
    original = found.get(_ORIGINAL)
    if original is None:
        return None
    tuple_ = attributes(original)
    addresses, protocol = attributes(tuple_.get(1, b"")), attributes(tuple_.get(2, b""))
    source, address = addresses.get(1 if size == 4 else 3), addresses.get(2 if size == 4 else 4)
    number = protocol.get(1)
    if source is None or address is None or not number:
        return None
    named = _attr(_ORIGINAL | _NESTED, original)
    if zone := found.get(_ZONE):
        named += _attr(_ZONE, zone)
    return Flow(
        number[0],
        source,
        int.from_bytes(protocol.get(2, b""), "big"),
        address,
        int.from_bytes(protocol.get(3, b""), "big"),
        int.from_bytes(found.get(_MARK, b""), "big"),
        number[0] != TCP or _tcp_state(found.get(_PROTOINFO, b"")) in _TCP_ALIVE,
        named,
    )


def _tcp_state(info: bytes) -> int:
    state = attributes(attributes(info).get(1, b"")).get(1, b"\0")  # CTA_PROTOINFO_TCP, _TCP_STATE
    return state[0]


def _attr(kind: int, value: bytes) -> bytes:
    return _ATTR.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return _HEADER.pack(16 + len(body), kind, _F_REQUEST | flags, sequence, 0) + body
