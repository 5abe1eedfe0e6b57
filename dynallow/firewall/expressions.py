"""nf_tables expressions, packed: what a rule loads, compares, looks up and does.

Pure bytes. Knows the attributes of include/uapi/linux/netfilter/nf_tables.h; must not know which rules
there are (that is `encode.py`). Everything goes through register 1, as nft has it for rules like ours; the
parts of a flow's key lie in registers side by side.
Keeps: each expression is byte for byte what `nft` sends, so that nft lists the rule as it stands in the text.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Literal

from dynallow.firewall.ruleset import Family

_ATTR = struct.Struct("=HH")
_NESTED = 0x8000
_REGISTER, _VERDICT_REGISTER = 1, 0
_ADDRESS_OFFSETS: dict[tuple[str, Family], int] = {
    ("saddr", 4): 12,
    ("daddr", 4): 16,
    ("saddr", 6): 8,
    ("daddr", 6): 24,
}

_remembered = lru_cache(maxsize=512)  # rules are much alike: half of the packing of a table is saved

Comparison = Literal["==", "!=", "<=", ">="]
_COMPARISONS: dict[Comparison, int] = {"==": 0, "!=": 1, "<=": 3, ">=": 5}
NETWORK, TRANSPORT = 1, 2
"""Where a payload's offset counts from: the IP header, or what follows it."""

# Values of NFTA_VERDICT_CODE: netfilter's own, and nf_tables' negative ones.
DROP, ACCEPT, JUMP, GOTO, RETURN = 0, 1, -3, -4, -5


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute, brought to whole words."""
    return _ATTR.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def number(kind: int, value: int) -> bytes:
    """A 32-bit number."""
    return attribute(kind, value.to_bytes(4, "big"))


def long_number(kind: int, value: int) -> bytes:
    """A 64-bit number."""
    return attribute(kind, value.to_bytes(8, "big"))


def text(kind: int, value: str) -> bytes:
    """A string and its NUL."""
    return attribute(kind, value.encode() + b"\0")


def nested(kind: int, *inner: bytes) -> bytes:
    """Attributes in an attribute."""
    return attribute(kind | _NESTED, b"".join(inner))


def _expression(name: str, *data: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *data))  # NFTA_LIST_ELEM: NFTA_EXPR_NAME, NFTA_EXPR_DATA


# ------------------------------------------------------------------ loads


@_remembered
def meta(key: int, register: int = _REGISTER) -> bytes:
    """Something of the packet beside its bytes: NFT_META_*."""
    return _expression("meta", number(2, key), number(1, register))


def conntrack(key: int) -> bytes:
    """Something of the packet's flow: NFT_CT_*."""
    return _expression("ct", number(1, _REGISTER), number(2, key))


@_remembered
def payload(base: int, offset: int, size: int, register: int = _REGISTER) -> bytes:
    """Bytes of the packet."""
    return _expression("payload", number(1, register), number(2, base), number(3, offset), number(4, size))


@_remembered
def constant(value: bytes, register: int) -> bytes:
    """A value as it stands."""
    return _expression("immediate", number(1, register), nested(2, attribute(1, value)))


@_remembered
def address(which: Literal["saddr", "daddr"], family: Family, size: int | None = None) -> bytes:
    """The first `size` bytes of an address, or all."""
    return payload(NETWORK, _ADDRESS_OFFSETS[which, family], size or (4 if family == 4 else 16))


def header_exists(kind: int, what: int) -> bytes:
    """Whether there is an extension header (`what` 0), or an option of IPv4 (2)."""
    return _expression(
        "exthdr",
        number(1, _REGISTER),
        attribute(2, bytes([kind])),
        number(3, 0),
        number(4, 1),
        number(5, 1),  # NFT_EXTHDR_F_PRESENT
        number(6, what),
    )


def route_type(flags: int) -> bytes:
    """What the routing table says an address is (RTN_*); `flags`: 1 of the source, 2 of the destination."""
    return _expression("fib", number(1, _REGISTER), number(2, 3), number(3, flags))


# ------------------------------------------------------------------ comparisons


@_remembered
def compare(how: Comparison, value: bytes) -> bytes:
    """What was loaded, with a value."""
    return _expression(
        "cmp", number(1, _REGISTER), number(2, _COMPARISONS[how]), nested(3, attribute(1, value))
    )


@_remembered
def masked(mask: bytes) -> bytes:
    """What was loaded, without the bits that the mask lacks."""
    return _expression(
        "bitwise",
        number(1, _REGISTER),
        number(2, _REGISTER),
        number(3, len(mask)),
        number(6, 0),  # NFT_BITWISE_MASK_XOR
        nested(4, attribute(1, mask)),
        nested(5, attribute(1, bytes(len(mask)))),
    )


@_remembered
def lookup(set_name: str, set_id: int = 0, *, negated: bool = False) -> bytes:
    """Whether a set has what was loaded; `set_id` tells one that this transaction makes."""
    told = [text(1, set_name), number(2, _REGISTER)]
    if negated:
        told.append(number(5, 1))
    if set_id:
        told.append(number(4, set_id))
    return _expression("lookup", *told)


# ------------------------------------------------------------------ statements


@_remembered
def verdict(code: int, chain: str = "") -> bytes:
    """What becomes of the packet."""
    told = [number(1, code & 0xFFFFFFFF)]
    if chain:
        told.append(text(2, chain))
    return _expression("immediate", number(1, _VERDICT_REGISTER), nested(2, nested(2, *told)))


@_remembered
def limit(count: int, unit_s: int, burst: int) -> bytes:
    """Go on with so many packets in a unit of time, and no more."""
    return _expression(
        "limit", long_number(1, count), long_number(2, unit_s), number(3, burst), number(4, 0), number(5, 0)
    )


@_remembered
def log(prefix: str, group: int) -> bytes:
    """Tell an NFLOG group."""
    return _expression("log", text(2, prefix), attribute(1, group.to_bytes(2, "big")))


def count(counter: str) -> bytes:
    """Add to a counter of that name."""
    return _expression("objref", text(2, counter), number(1, 1))


@_remembered
def update(set_name: str) -> bytes:
    """Count in the element whose key was loaded, in registers from the first one on; make it if need be."""
    counter = nested(7, text(1, "counter"), nested(2, long_number(1, 0), long_number(2, 0)))
    updates = 1  # NFT_DYNSET_OP_UPDATE
    return _expression("dynset", number(4, _REGISTER), number(3, updates), text(1, set_name), counter)


def reset() -> bytes:
    """Refuse with a TCP reset."""
    return _expression("reject", number(1, 1), attribute(2, b"\0"))


def refuse(icmpx: int) -> bytes:
    """Refuse with an ICMP error of either family: NFT_REJECT_ICMPX_*."""
    return _expression("reject", number(1, 2), attribute(2, bytes([icmpx])))


def redirect(port: int) -> bytes:
    """Turn to this host's loopback address."""
    value = nested(2, attribute(1, port.to_bytes(2, "big")))
    given = 2  # NF_NAT_RANGE_PROTO_SPECIFIED
    return _expression("immediate", number(1, _REGISTER), value) + _expression(
        "redir", number(1, _REGISTER), number(2, _REGISTER), number(3, given)
    )


EACH_COUNTS = nested(17, text(1, "counter"), nested(2))
"""NFTA_SET_EXPR: every element of the set has a counter."""


def counted(packets: int, octets: int) -> bytes:
    """NFTA_SET_ELEM_EXPR: an element's counter, which goes on from here."""
    return nested(7, text(1, "counter"), nested(2, long_number(1, octets), long_number(2, packets)))
