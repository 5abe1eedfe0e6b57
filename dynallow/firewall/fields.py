"""What a rule can test of a packet: how it is loaded, and what nft's words for its values stand for.

Pure. Named in `ruleset.Test` as nft names it; numbers are the kernel's (nf_tables.h, nf_conntrack_common.h of
include/uapi/linux/netfilter) and, where nft must know a set's elements again, nft's own (its datatypes and
`typeof` user data). Must not know rules.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from dynallow.firewall import expressions as ex

_NOTHING: Mapping[str, int] = MappingProxyType({})
IPV4 = ("meta nfproto", "ipv4")
IPV6 = ("meta nfproto", "ipv6")
TCP = ("meta l4proto", "tcp")
UDP = ("meta l4proto", "udp")
ICMPV6 = ("meta l4proto", "ipv6-icmp")
Need = tuple[str, str]
"""A field and the value that it must have, for another to be there at all."""


class Field(NamedTuple):
    """One thing that can be tested."""

    load: bytes
    size: int
    type: int = 0
    """nft's number of the datatype, for a set of such values."""
    typeof: bytes = b""
    """By what nft knows what a set of such values is keyed."""
    needs: tuple[Need, ...] = ()
    words: Mapping[str, int] = _NOTHING
    bits: bool = False
    """A value is a bit that must be set among others."""
    host_order: bool = True
    payload: tuple[int, int] | None = None
    """Base and offset, for those that nft loads together with a neighbour."""
    family: int = 0
    """Of an address: 4 or 6."""

    def value(self, word: str | int) -> bytes:
        """As the kernel holds it. Raises KeyError, ValueError or OSError for what is no value."""
        if self.family:
            return socket.inet_pton(socket.AF_INET if self.family == 4 else socket.AF_INET6, str(word))
        number = word if isinstance(word, int) else self.words[word] if word in self.words else int(word, 0)
        return number.to_bytes(self.size, "little" if self.host_order and _LITTLE else "big")


_LITTLE = struct.pack("=H", 1) == b"\1\0"
_HOST, _BIG = (struct.pack("=BBI", 0, 4, order) for order in (1, 2))  # byte order, as user data
MERGED = struct.pack("=BBI", 2, 4, 1)
"""User data of a set of intervals: neighbours have been joined."""


def _typeof(expression: int, inner: bytes) -> bytes:
    """NFTNL_UDATA_SET_KEY_TYPEOF: the expression's number, and what of it."""
    told = struct.pack("=BBI", 0, 4, expression) + struct.pack("=BB", 1, len(inner)) + inner
    return struct.pack("=BB", 3, len(told)) + told


def _of_payload(header: int, which: int) -> bytes:
    return _typeof(7, struct.pack("=BBIBBI", 0, 4, header, 1, 4, which))


def _of_meta(key: int) -> bytes:
    return _typeof(9, struct.pack("=BBI", 0, 4, key))


def _of_flow(key: int) -> bytes:
    return _typeof(12, struct.pack("=BBIBBI", 0, 4, key, 1, 4, 0xFFFFFFFF))


def user_data(of: Field, *, intervals: bool) -> bytes:
    """What nft keeps beside an anonymous set of such values."""
    return (_HOST if of.host_order else _BIG) + (MERGED if intervals else b"") + of.typeof


def named_user_data() -> bytes:
    """What nft keeps beside a named set of addresses."""
    return _BIG


def flow_user_data() -> bytes:
    """What nft keeps beside a set of flows: keyed by several things in a row."""
    return struct.pack("=BBI", 0, 4, 0) + _typeof(13, b"")


def _meta(key: int, size: int, type: int = 0, words: Mapping[str, int] = _NOTHING) -> Field:
    return Field(ex.meta(key), size, type, _of_meta(key), words=words)


def _port(header: int, offset: int, needs: tuple[Need, ...]) -> Field:
    return Field(
        ex.payload(ex.TRANSPORT, offset, 2),
        2,
        13,
        _of_payload(header, 2 if offset else 1),
        needs,
        host_order=False,
        payload=(ex.TRANSPORT, offset),
    )


def _address(which: Literal["saddr", "daddr"], family: Literal[4, 6]) -> Field:
    number = {("saddr", 4): 11, ("daddr", 4): 12, ("saddr", 6): 8, ("daddr", 6): 9}[which, family]
    return Field(
        ex.address(which, family),
        4 if family == 4 else 16,
        7 if family == 4 else 8,
        _of_payload(12 if family == 4 else 13, number),
        (IPV4 if family == 4 else IPV6,),
        host_order=False,
        family=family,
    )


_EXISTS = {"exists": 1}
_STATES = {"established": 2, "related": 4}
_ROUTES = {"local": 2}
_LOOPBACK = {'"lo"': 1}  # in each namespace the first of all
_MESSAGES = {
    "mld-listener-report": 131,
    "mld-listener-done": 132,
    "nd-router-solicit": 133,
    "nd-neighbor-solicit": 135,
    "nd-neighbor-advert": 136,
    "mld2-listener-report": 143,
}

FIELDS: Mapping[str, Field] = {
    "meta nfproto": _meta(15, 1, words={"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}),
    "meta l4proto": _meta(
        16, 1, 12, {"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "ipv6-icmp": 58, "sctp": 132, "udplite": 136}
    ),
    "meta mark": _meta(3, 4),
    "meta skuid": _meta(10, 4, 24),
    "oif": _meta(5, 4, words=_LOOPBACK),
    "ct state": Field(ex.conntrack(0), 4, 26, _of_flow(0), words=_STATES, bits=True),
    "ct direction": Field(ex.conntrack(1), 1, words={"original": 0, "reply": 1}),
    "ct mark": Field(ex.conntrack(3), 4),
    "ct status": Field(ex.conntrack(2), 4, words={"dnat": 32}, bits=True),
    "fib saddr type": Field(ex.route_type(1), 4, words=_ROUTES),
    "fib daddr type": Field(ex.route_type(2), 4, words=_ROUTES),
    "exthdr rt": Field(ex.header_exists(43, 0), 1, needs=(IPV6,), words=_EXISTS),
    "ip option lsrr": Field(ex.header_exists(131, 2), 1, needs=(IPV4,), words=_EXISTS),
    "ip option ssrr": Field(ex.header_exists(137, 2), 1, needs=(IPV4,), words=_EXISTS),
    "ip saddr": _address("saddr", 4),
    "ip daddr": _address("daddr", 4),
    "ip6 saddr": _address("saddr", 6),
    "ip6 daddr": _address("daddr", 6),
    "ip6 hoplimit": Field(ex.payload(ex.NETWORK, 7, 1), 1, needs=(IPV6,), host_order=False),
    "icmpv6 type": Field(
        ex.payload(ex.TRANSPORT, 0, 1),
        1,
        29,
        _of_payload(14, 1),
        (IPV6, ICMPV6),
        _MESSAGES,
        host_order=False,
    ),
    "th dport": _port(11, 2, ()),
    "tcp dport": _port(8, 2, (TCP,)),
    "udp dport": _port(6, 2, (UDP,)),
    "udp sport": _port(6, 0, (UDP,)),
}
"""By nft's own words."""
