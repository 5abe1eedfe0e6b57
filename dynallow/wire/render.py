"""Validated values to the bytes of a reply, and the same reply again some seconds later.

Knows the message format; must not know why the reply says what it says.
Invariants: a reply is built from records alone, no byte of an upstream's packet
is relayed; one that does not fit is empty with TC set, never cut somewhere.

A reply is rendered once and kept as a `Template`; each later client gets it
with the TTL of his moment (`retold`) behind his own id.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from dynallow.wire import numbers as n
from dynallow.wire.names import Name
from dynallow.wire.response import Record

_head: Final = struct.Struct(">5H").pack
_pointer_and_fixed: Final = struct.Struct(">HHHIH").pack
_alias: Final = struct.Struct(">HHHIHH").pack
_fixed: Final = struct.Struct(">HHIH").pack
_opt: Final = struct.Struct(">BHHBBHH").pack
_opt_ede: Final = struct.Struct(">BHHBBHHHHH").pack

_POINTER: Final = 0xC000
_REACH: Final = 0x4000  # a pointer has 14 bits
_ID: Final = 2
_ECHOED: Final = n.OPCODE | n.RD | n.CD
_EDE: Final = 15  # option code (RFC 8914)
# With the longest question and OPT the whole still fits 512 bytes.
EDE_TEXT_MAX: Final = 200
_ANSWERED: Final = n.QR | n.RA
_OPT_PLAIN: Final = _opt(0, n.OPT, n.UDP_SAFE, 0, 0, 0, 0)
_OPT_DO: Final = _opt(0, n.OPT, n.UDP_SAFE, 0, 0, n.DO, 0)


Template = tuple[bytes, tuple[int, ...]]
"""A reply without its two id bytes, and where in it each record's TTL stands.

OPT's field of that name holds flags and is none of them. A plain tuple, as `Record` is.
"""


def render(
    section: bytes,
    *,
    flags: int,
    rcode: int,
    name: Name = b"",
    records: Sequence[Record] = (),
    authority: Sequence[Record] = (),
    ttl_s: int | None = None,
    edns: bool = False,
    do: bool = False,
    ede: tuple[int, str] | None = None,
    max_size: int = n.MESSAGE_MAX,
    ad: bool = False,
) -> Template:
    """The reply to a question whose section (echoed byte for byte) and flags are given.

    `section` is empty when the question could not be read, `name` the name in it,
    in lower case, where that is at hand. `edns` says whether the question had an
    OPT record: only then does the reply (RFC 6891 section 7), and only then can it
    carry `ede` (code, text) or an rcode above 15. `ttl_s` is told for every record
    in place of its own TTL. `ad`: an upstream vouches for all of it (RFC 4035
    section 3.2.3).
    """
    flags = flags & _ECHOED | _ANSWERED | rcode & 0xF
    if ad:
        flags |= n.AD
    opt = render_opt(rcode, do, ede) if edns else b""
    if len(records) == 1 and not authority and records[0][0] == name and records[0][1] != n.CNAME:
        # As below, at half the price: one address of the asked name is all that most replies tell.
        _owner, rtype, ttl, rdata = records[0]
        told = ttl if ttl_s is None else ttl_s
        body = _head(flags, 1, 1, 0, 1 if opt else 0) + section + beside_question(rtype, told, rdata) + opt
        if len(body) <= max_size - _ID:
            return body, (n.HEADER_SIZE + len(section) + 4,)
    names: dict[Name, int] = {}
    if section:
        names[name or section[:-4].lower()] = n.HEADER_SIZE
        if authority:
            _add_parents(names, section)
    parts = [b"", section]
    offsets: list[int] = []
    size = n.HEADER_SIZE + len(section)
    size = _render_records(parts, offsets, names, size, records, ttl_s)
    if authority:
        size = _render_records(parts, offsets, names, size, authority, ttl_s)
    if opt and ede is not None and size + len(opt) > max_size:
        opt = render_opt(rcode, do, None)  # the answer matters more than its footnote
    questions = 1 if section else 0
    additionals = 1 if opt else 0
    if size + len(opt) > max_size:
        opt = render_opt(rcode, do, ede) if edns else b""
        return _head(flags & ~n.AD | n.TC, questions, 0, 0, additionals) + section + opt, ()
    parts[0] = _head(flags, questions, len(records), len(authority), additionals)
    parts.append(opt)
    return b"".join(parts), tuple(offsets)


def beside_question(rtype: int, ttl: int, rdata: bytes) -> bytes:
    """A record that the asked name itself owns, as it stands right after the question section."""
    return _pointer_and_fixed(_POINTER | n.HEADER_SIZE, rtype, n.CLASS_IN, ttl, len(rdata)) + rdata


def render_denial(section: bytes, flags: int, rcode: int, soa: bytes, opt: bytes) -> bytes:
    """The body that `render` makes of a denial: `soa` from `beside_question`, `opt` from `render_opt`.

    For the flood of names that a stranger thinks up: nothing is looked up or measured, so whether
    it fits is for the caller to see.
    """
    flags = flags & _ECHOED | _ANSWERED | rcode & 0xF
    return _head(flags, 1, 0, 1 if soa else 0, 1 if opt else 0) + section + soa + opt


def _render_records(
    parts: list[bytes],
    offsets: list[int],
    names: dict[Name, int],
    size: int,
    records: Sequence[Record],
    told: int | None,
) -> int:
    """Append `records` to `parts`, the places of their TTLs to `offsets`; returns the new size.

    Owners and CNAME targets become pointers when the whole name was written
    before: that is all the compression a chain needs. Other rdata is written in
    full, as RFC 3597 asks for all but the oldest types.
    """
    head, set_owner, set_type, set_ttl, set_length = b"", b"", 0, 0, 0
    for owner, rtype, ttl, rdata in records:
        if told is not None:
            ttl = told
        length = len(rdata)
        # One more of the same set:
        if head and length == set_length and rtype == set_type and ttl == set_ttl and owner == set_owner:
            parts += (head, rdata)
            offsets.append(size + 4)
            size += 12 + length
            continue
        at = names.get(owner)
        if at is None:
            if size < _REACH:
                names[owner] = size
            parts.append(owner + _fixed(rtype, n.CLASS_IN, ttl, length))
            start = size + len(owner) + 10
        else:
            start = size + 12
            if rtype == n.CNAME and rdata in names:
                parts.append(_alias(_POINTER | at, rtype, n.CLASS_IN, ttl, 2, _POINTER | names[rdata]))
                offsets.append(size + 4)
                size = start + 2
                continue
            packed = _pointer_and_fixed(_POINTER | at, rtype, n.CLASS_IN, ttl, length)
            parts.append(packed)
            if rtype != n.CNAME:
                head, set_owner, set_type, set_ttl, set_length = packed, owner, rtype, ttl, length
        if rtype == n.CNAME and start < _REACH:
            names.setdefault(rdata, start)
        parts.append(rdata)
        offsets.append(start - 8)  # TTL and RDLENGTH stand before the data; the id is not counted
        size = start + length
    return size


def _add_parents(names: dict[Name, int], section: bytes) -> None:
    """Let the question's parents be pointed at: a denial's SOA belongs to one of them."""
    name = section[:-4].lower()
    pos = name[0] + 1
    while pos < len(name):
        names[name[pos:]] = n.HEADER_SIZE + pos
        pos += name[pos] + 1


def render_opt(rcode: int, do: bool, ede: tuple[int, str] | None) -> bytes:
    """An OPT record with our UDP size, the rcode's upper bits, DO, and the extended error."""
    if ede is None:
        if rcode < 16:
            return _OPT_DO if do else _OPT_PLAIN  # nearly every reply's
        return _opt(0, n.OPT, n.UDP_SAFE, rcode >> 4, 0, n.DO if do else 0, 0)
    code, text = ede
    short = text.encode("utf-8", "replace")
    if len(short) > EDE_TEXT_MAX:  # cut at a character, not in the middle of one
        short = short[:EDE_TEXT_MAX].decode("utf-8", "ignore").encode()
    length = len(short)
    flags = n.DO if do else 0
    return _opt_ede(0, n.OPT, n.UDP_SAFE, rcode >> 4, 0, flags, 6 + length, _EDE, 2 + length, code) + short


def retold(template: Template, ttl_s: int) -> bytes:
    """The reply after its id, with this TTL for every record."""
    body, offsets = template
    ttl = ttl_s.to_bytes(4, "big")
    if len(offsets) == 1:  # nearly always, and at half the price
        (at,) = offsets
        return body[:at] + ttl + body[at + 4 :]
    told = bytearray(body)
    for at in offsets:
        told[at : at + 4] = ttl
    return bytes(told)
