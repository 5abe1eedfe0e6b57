"""TTLs, rcodes and OPT records at their edges. Pure."""

from __future__ import annotations

import struct
from functools import partial

from tests.lab import dnsbytes as d
from tests.lab.dnsbytes import Query
from tests.lab.lies.pieces import (
    GOOD,
    NOTHING,
    PLAIN,
    evil,
    right,
    tell,
    tells,
)


def ttl(query: Query, seconds: int) -> bytes:
    return d.reply(query, [right(query, ttl=seconds)])


def rcode(query: Query, number: int) -> bytes:
    return d.reply(query, [evil(query)], rcode=number, flags=PLAIN)


@tells(NOTHING)
def nxdomain_with_data(query: Query) -> bytes:
    """NXDOMAIN beside an address for the name: one of the two is a lie."""
    return d.reply(query, [evil(query)], [d.soa("example.org")], rcode=d.NXDOMAIN)


@tells(NOTHING)
def bad_rcode_by_opt(query: Query) -> bytes:
    """NOERROR in the header, BADVERS by OPT's upper bits."""
    return d.reply(query, [evil(query)], [], [b"\0" + struct.pack("!HHBBHH", 41, 1232, 1, 0, 0, 0)])


@tells(NOTHING)
def opt_cut_off(query: Query) -> bytes:
    opt = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 4) + struct.pack("!HH", 10, 8)
    return d.reply(query, [evil(query)], [], [opt])


@tells(NOTHING)
def two_opts(query: Query) -> bytes:
    opt = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)
    return d.reply(query, [evil(query)], [], [opt, opt])


@tells(NOTHING)
def opt_in_answer(query: Query) -> bytes:
    return d.reply(query, [b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0), evil(query)])


@tells(NOTHING)
def opt_not_at_root(query: Query) -> bytes:
    return d.reply(query, [evil(query)], [], [d.ASKED + struct.pack("!HHIH", 41, 1232, 0, 0)])


@tells(GOOD)
def unknown_flags(query: Query) -> bytes:
    """AD, CD and the reserved bit are no reason to distrust."""
    return d.reply(query, [right(query)], flags=PLAIN | 0x0070)


for _seconds in (0, 2**31 - 1, 2**31, 2**32 - 1):
    tell(f"ttl-{_seconds}", GOOD, partial(ttl, seconds=_seconds))
for _number in (d.FORMERR, d.SERVFAIL, d.NOTIMP, d.REFUSED, 9, 15):
    tell(f"rcode-{_number}", NOTHING, partial(rcode, number=_number))
