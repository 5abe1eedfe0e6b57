"""Records where they do not belong: only the answer section's chain may count (invariant 5). Pure."""

from __future__ import annotations

import struct

from tests.lab import dnsbytes as d
from tests.lab.dnsbytes import Query
from tests.lab.lies.pieces import (
    EVIL,
    GOOD,
    NOTHING,
    PLAIN,
    elsewhere,
    evil,
    rdata,
    right,
    tells,
)


@tells(GOOD)
def off_chain(query: Query) -> bytes:
    return d.reply(query, [right(query), evil(query, elsewhere())])


@tells(NOTHING)
def off_chain_only(query: Query) -> bytes:
    return d.reply(query, [evil(query, elsewhere())])


@tells(GOOD)
def below_the_name(query: Query) -> bytes:
    return d.reply(query, [right(query), evil(query, b"\x03www" + d.ASKED)])


@tells(GOOD)
def above_the_name(query: Query) -> bytes:
    parent = struct.pack("!H", 0xC000 | 12 + 1 + query.name[0])
    return d.reply(query, [right(query), evil(query, parent)])


@tells(GOOD)
def in_authority(query: Query) -> bytes:
    return d.reply(query, [right(query)], [evil(query)], [])


@tells(GOOD)
def in_additional(query: Query) -> bytes:
    return d.reply(query, [right(query)], [], [evil(query), evil(query, elsewhere())])


@tells(NOTHING)
def only_in_authority_and_additional(query: Query) -> bytes:
    return d.reply(query, [], [evil(query)], [evil(query)])


@tells(NOTHING)
def class_chaos(query: Query) -> bytes:
    evil = d.rr(d.ASKED, query.qtype, rdata(query), rclass=d.CH)
    return d.reply(query, [evil])


@tells(GOOD)
def class_chaos_beside(query: Query) -> bytes:
    return d.reply(query, [right(query), d.rr(d.ASKED, query.qtype, rdata(query), rclass=d.CH)])


@tells(NOTHING)
def class_any(query: Query) -> bytes:
    return d.reply(query, [d.rr(d.ASKED, query.qtype, rdata(query), rclass=255)])


@tells(NOTHING)
def other_family(query: Query) -> bytes:
    other = d.AAAA if query.qtype == d.A else d.A
    return d.reply(query, [d.address(EVIL[other])])


@tells(NOTHING)
def wrong_type_same_bytes(query: Query) -> bytes:
    return d.reply(query, [d.rr(d.ASKED, 4242, rdata(query))])


@tells(GOOD)
def https_with_private_hints(query: Query) -> bytes:
    """An answer to A that brings HTTPS hints as well."""
    hints = struct.pack("!HHH", 1, 4, 8) + bytes((10, 0, 0, 1)) + bytes((198, 51, 100, 67))
    record = d.rr(d.ASKED, d.HTTPS, hints[:2] + b"\0" + hints[2:])
    return d.reply(query, [right(query), record])


@tells(NOTHING)
def glue_for_the_name(query: Query) -> bytes:
    """A referral with the name's own address as glue."""
    ns = d.rr(d.name("example.org"), d.NS, d.ASKED)
    return d.reply(query, [], [ns], [evil(query)], flags=PLAIN)


@tells(NOTHING)
def lame_referral_to_root(query: Query) -> bytes:
    ns = d.rr(b"\0", d.NS, elsewhere("ns.example.net"))
    return d.reply(query, [], [ns], [evil(query, elsewhere("ns.example.net"))], flags=PLAIN)
