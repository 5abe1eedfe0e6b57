"""Names that no parser may follow: loops, reserved label types, more than 255 bytes. Pure."""

from __future__ import annotations

import struct
from functools import partial

from tests.lab import dnsbytes as d
from tests.lab.dnsbytes import Query
from tests.lab.lies.pieces import (
    NOTHING,
    at_record,
    evil,
    rdata,
    right,
    tell,
    tells,
)


@tells(NOTHING)
def pointer_to_itself(query: Query) -> bytes:
    return d.reply(query, [evil(query, struct.pack("!H", 0xC000 | at_record(query)))])


@tells(NOTHING)
def pointers_to_each_other(query: Query) -> bytes:
    at = at_record(query)
    first = struct.pack("!H", 0xC000 | at + 4)  # into the data of this very record
    data = struct.pack("!HH", 0xC000 | at, 0xC000 | at)
    return d.reply(query, [first + struct.pack("!HHIH", d.TXT, d.IN, 0, 4) + data, evil(query)])


@tells(NOTHING)
def pointer_forward(query: Query) -> bytes:
    at = at_record(query)
    first = evil(query, struct.pack("!H", 0xC000 | at + 12 + len(rdata(query))))
    return d.reply(query, [first, right(query)])


@tells(NOTHING)
def pointer_past_the_end(query: Query) -> bytes:
    return d.reply(query, [evil(query, b"\xff\xff"), right(query)])


@tells(NOTHING)
def pointer_into_the_header(query: Query) -> bytes:
    return d.reply(query, [evil(query, b"\xc0\x00"), right(query)])


@tells(NOTHING)
def pointer_cut_off(query: Query) -> bytes:
    return d.reply(query, [right(query)], counts=(1, 2, 0, 0), trailing=b"\xc0")


@tells(NOTHING)
def pointer_chain(query: Query, hops: int = 60) -> bytes:
    """CNAMEs whose targets are pointers to pointers to pointers."""
    at = at_record(query)
    records = [d.rr(d.ASKED, d.CNAME, d.ASKED)]
    for hop in range(hops):
        back = struct.pack("!H", 0xC000 | at + 12 + 14 * hop)
        records.append(d.rr(d.ASKED, d.CNAME, back))
    return d.reply(query, [*records, evil(query)])


def label_type(query: Query, top: int) -> bytes:
    """Label types 01 and 10, which nobody may send any more (RFC 6891 section 5)."""
    return d.reply(query, [right(query), evil(query, bytes((top | 3,)) + b"www\0")])


@tells(NOTHING)
def name_too_long(query: Query) -> bytes:
    owner = (b"\x3f" + b"a" * 63) * 4 + b"\0"  # 257 bytes
    return d.reply(query, [right(query), evil(query, owner)])


@tells(NOTHING)
def name_too_long_by_pointer(query: Query) -> bytes:
    owner = (b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"b" * 62 + d.ASKED
    return d.reply(query, [right(query), evil(query, owner)])


@tells(NOTHING)
def name_without_end(query: Query) -> bytes:
    return d.reply(query, [right(query)], counts=(1, 2, 0, 0), trailing=b"\x03www\x03not")


@tells(NOTHING)
def cname_to_root_garbage(query: Query) -> bytes:
    return d.reply(query, [d.rr(d.ASKED, d.CNAME, b"\x05no"), evil(query)])


tell("label-type-01", NOTHING, partial(label_type, top=0x40))
tell("label-type-10", NOTHING, partial(label_type, top=0x80))
