"""Set elements as the kernel tells them: a set's dump, and single ones looked up by their keys.

Pure bytes, as `elements.py` is, whose messages these are read from: knows no socket and no lease. What is
laid out as our own elements are is read at a stroke, everything else attribute by attribute; the two are
compared by tests, and with what `nft list set` prints.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from itertools import repeat
from operator import ne
from typing import NamedTuple

from dynallow.firewall.elements import (
    ATTR,
    ELEM_EXPIRATION,
    ELEM_KEY,
    ELEM_TIMEOUT,
    ELEM_USERDATA,
    ERRNO,
    HEADER,
    KEY_HEADS,
    LIST_ELEMENTS,
    NESTED,
    NEWSETELEM,
    NLMSG_ERROR,
    TYPE_MASK,
    UDATA_COMMENT,
    USERDATA,
    attribute,
    message,
    messages,
    set_head,
)

_GETSETELEM = (NEWSETELEM & ~0xFF) | 13
_NLMSG_DONE = 3
_F_DUMP, _F_DUMP_INTR = 0x300, 0x10
_ELEM_EXPR = 7
_BE64 = struct.Struct(">Q")


class Member(NamedTuple):
    """An element as the kernel holds it."""

    address: bytes
    expires_ms: int
    comment: str
    packets: int
    bytes: int


def dump_request(set_name: str, sequence: int) -> bytes:
    """Ask for every element of a set."""
    return message(_GETSETELEM, _F_DUMP, sequence, set_head(set_name))


class DumpPart(NamedTuple):
    """What one datagram of a dump held."""

    members: list[Member]
    done: bool
    errno: int
    interrupted: bool
    """Somebody wrote meanwhile (NLM_F_DUMP_INTR): elements may be missing or double."""


def parse_dump(datagram: bytes) -> DumpPart:
    """The elements in one datagram of a dump."""
    members: list[Member] = []
    done, errno, interrupted = False, 0, False
    for kind, flags, _, start, end in messages(datagram):
        interrupted = interrupted or bool(flags & _F_DUMP_INTR)
        if kind in (NLMSG_ERROR, _NLMSG_DONE):
            done = True  # and why, when it ended before its end
            errno = -ERRNO.unpack_from(datagram, start)[0] if end - start >= ERRNO.size else 0
        elif kind == NEWSETELEM:
            for what, first, last in _attributes(datagram, start + 4, end):
                if what == LIST_ELEMENTS & TYPE_MASK:
                    members += [
                        _usual_member(datagram, begin, stop) or _member(datagram, begin, stop)
                        for _, begin, stop in _attributes(datagram, first, last)
                    ]
    return DumpPart(members, done, errno, interrupted)


def _attributes(data: bytes, offset: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(type, start, end) of each attribute."""
    while offset + 4 <= end:
        length, kind = ATTR.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            return
        yield kind & TYPE_MASK, offset + 4, offset + length
        offset += (length + 3) & ~3


def _layout(address: int) -> tuple[struct.Struct, tuple[bytes, ...]]:
    """How our own elements come back, and the headers that stand between the values.

    The kernel does not mark what it nests, nor does it change the order.
    """
    key = ATTR.pack(8 + address, ELEM_KEY) + ATTR.pack(4 + address, 1)
    counter = ATTR.pack(44, _ELEM_EXPR) + attribute(1, b"counter\0") + ATTR.pack(28, 2) + ATTR.pack(12, 1)
    rest = (ATTR.pack(12, 2), ATTR.pack(12, ELEM_TIMEOUT), ATTR.pack(12, ELEM_EXPIRATION))
    return struct.Struct(f">8s{address}s24sQ4sQ4s8x4sQ"), (key, counter, *rest)


_LAYOUTS = (_layout(4), _layout(16))
_new = tuple.__new__  # what Member(...) calls in the end, at half the price


def _usual_member(data: bytes, offset: int, end: int) -> Member | None:
    """An element of ours, read at one stroke (1 µs instead of 12); None where it is laid out otherwise."""
    for layout, heads in _LAYOUTS:
        after = offset + layout.size
        if end < after:
            return None
        key, address, counter, octets, second, packets, timeout, expiration, expires_ms = layout.unpack_from(
            data, offset
        )
        if (key, counter, second, timeout, expiration) == heads:
            comment = ""
            if end > after:
                size = data[after + 5] if end - after > USERDATA.size else 0
                last = after + USERDATA.size + size - 1
                head = (USERDATA.size + size, ELEM_USERDATA, UDATA_COMMENT, size)
                if not size or last >= end or USERDATA.unpack_from(data, after) != head or data[last]:
                    return None
                comment = str(data[after + USERDATA.size : last], "ascii", "replace")
            return _new(Member, (address, expires_ms, comment, packets, octets))
    return None


def _member(data: bytes, offset: int, end: int) -> Member:
    address, expires_ms, comment, packets, octets = b"", 0, "", 0, 0
    for kind, start, stop in _attributes(data, offset, end):
        if kind == ELEM_KEY:
            for _, first, last in _attributes(data, start, stop):
                address = data[first:last]
        elif kind == ELEM_EXPIRATION:
            expires_ms = _BE64.unpack_from(data, start)[0]
        elif kind == ELEM_USERDATA:
            comment = _comment(data[start:stop])
        elif kind == _ELEM_EXPR:
            packets, octets = _counter(data, start, stop)
    return Member(address, expires_ms, comment, packets, octets)


def _comment(userdata: bytes) -> str:
    offset = 0
    while offset + 2 <= len(userdata):
        kind, length = userdata[offset], userdata[offset + 1]
        if kind == UDATA_COMMENT:
            return userdata[offset + 2 : offset + 2 + length].rstrip(b"\0").decode("ascii", "replace")
        offset += 2 + length
    return ""


def _counter(data: bytes, offset: int, end: int) -> tuple[int, int]:
    """Packets and bytes of an element's `counter` expression."""
    packets = octets = 0
    for kind, start, stop in _attributes(data, offset, end):
        if kind == 2:  # NFTA_EXPR_DATA
            for inner, first, _ in _attributes(data, start, stop):
                if inner == 1:  # NFTA_COUNTER_BYTES
                    octets = _BE64.unpack_from(data, first)[0]
                elif inner == 2:  # NFTA_COUNTER_PACKETS
                    packets = _BE64.unpack_from(data, first)[0]
    return packets, octets


class Lookup:
    """Elements of a set asked for by their keys: many in one request, each answered by a message of its own.

    The first one that is not there ends the request, with an error in its stead.
    """

    SLOT = 512
    """Replies are read from slots of this size; none of ours is longer, whatever its comment."""

    def __init__(self, set_name: str, address: int) -> None:
        self._head = set_head(set_name)
        key = KEY_HEADS[address]
        self._key = ATTR.pack(4 + len(key) + address, 1 | NESTED) + key
        # How ours come back: length and type, the element, its comment's head and size.
        layout, heads = _layout(address)
        names = HEADER.size - 6 + len(self._head) + 8
        form = f">4s2s{names}x{layout.format[1:]}2x3sB"
        self._size = struct.calcsize(form)
        self._slots = struct.Struct(f"{form}{self.SLOT - self._size}x")
        kind = struct.pack("=H", NEWSETELEM)
        self._heads = (kind, *heads, struct.pack("=HB", ELEM_USERDATA, UDATA_COMMENT))
        # By the size of the comment, with the byte that ends it.
        self._lengths = [struct.pack("=I", self._size - 6 + (6 + size + 3 & ~3)) for size in range(256)]

    def request(self, addresses: list[bytes], sequence: int) -> bytes:
        """Ask for these, all of them of this set's family."""
        listed = self._key + self._key.join(addresses)
        body = self._head + ATTR.pack(4 + len(listed), LIST_ELEMENTS) + listed
        return message(_GETSETELEM, 0, sequence, body)

    def members(self, slots: bytes) -> tuple[list[Member], int]:
        """What the slots hold, up to an error, and the errno of that; 0 for none."""
        members = self._usual_members(slots)
        if members:
            return members, 0
        for at in range(0, len(slots), self.SLOT):
            part = parse_dump(slots[at : at + self.SLOT])
            if not part.members:
                return members, part.errno or errno.EMSGSIZE
            members += part.members
        return members, 0

    def _usual_members(self, slots: bytes) -> list[Member]:
        """All of them, where all are laid out as ours are: by columns, at half the price of one by one."""
        columns = tuple(zip(*self._slots.iter_unpack(slots), strict=True))
        if not columns:
            return []
        length, kind, key, addresses, counter, octets, more, packets, timeout, left, *rest = columns
        expires_ms, userdata, sizes = rest
        fixed = (kind, key, counter, more, timeout, left, userdata)
        count = len(kind)
        if any(column.count(head) < count for column, head in zip(fixed, self._heads, strict=True)):
            return []
        if any(map(ne, length, map(self._lengths.__getitem__, sizes))):
            return []
        places = zip(range(self._size, len(slots), self.SLOT), sizes, strict=True)
        comments = [str(slots[at : at + size - 1], "ascii", "replace") for at, size in places]
        rows = zip(addresses, expires_ms, comments, packets, octets, strict=True)
        return list(map(_new, repeat(Member), rows))
