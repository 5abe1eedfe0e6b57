"""Lengths and counts that lie: the whole message is worth nothing then. Pure."""

from __future__ import annotations

from functools import partial

from tests.lab import dnsbytes as d
from tests.lab.dnsbytes import Query
from tests.lab.lies.pieces import (
    EMPTY,
    NOTHING,
    elsewhere,
    evil,
    good,
    over_tcp,
    rdata,
    right,
    tell,
    tells,
)
from tests.lab.scenarios import Reaction


def rdlength(query: Query, change: int, *, bare: bool = False) -> bytes:
    """The last record's RDLENGTH off by `change`; `bare`: the data is as long as it says."""
    data = rdata(query)
    told = len(data) + change
    if bare:
        data = (data + bytes(8))[:told]
    return d.reply(query, [right(query), d.rr(d.ASKED, query.qtype, data, rdlength=told)])


def rdlength_first(query: Query, change: int) -> bytes:
    data = rdata(query)
    return d.reply(query, [d.rr(d.ASKED, query.qtype, data, rdlength=len(data) + change), right(query)])


@tells(NOTHING)
def rdlength_over_the_end(query: Query) -> bytes:
    return d.reply(query, [right(query), d.rr(d.ASKED, query.qtype, rdata(query), rdlength=65535)])


@tells(NOTHING)
def rdlength_lie_in_additional(query: Query) -> bytes:
    return d.reply(query, [right(query)], [], [d.rr(d.ASKED, query.qtype, rdata(query), rdlength=3)])


@tells(NOTHING)
def rdlength_zero(query: Query) -> bytes:
    return d.reply(query, [d.rr(d.ASKED, query.qtype, b"")])


def cname_rdlength(query: Query, change: int) -> bytes:
    target = d.name("end.example.org")
    link = d.rr(d.ASKED, d.CNAME, target, rdlength=len(target) + change)
    return d.reply(query, [link, evil(query, target)])


def count(query: Query, section: int, change: int) -> bytes:
    """One of the four counts is not what it should be; a change of 65535 sets it to that."""
    counts = [1, 2, 1, 1]
    counts[section] = 65535 if change == 65535 else counts[section] + change
    lie = (counts[0], counts[1], counts[2], counts[3])
    soa, glue = d.soa("example.org"), evil(query, elsewhere())
    return d.reply(query, [right(query), evil(query)], [soa], [glue], counts=lie)


@tells(NOTHING)
def trailing_bytes(query: Query) -> bytes:
    return d.reply(query, [right(query)], trailing=b"\0")


@tells(NOTHING)
def trailing_kilobyte(query: Query) -> bytes:
    return d.reply(query, [right(query)], trailing=bytes(1000))


@tells(NOTHING)
def trailing_record(query: Query) -> bytes:
    return d.reply(query, [right(query)], trailing=evil(query))


def cut_short(query: Query, by: int) -> bytes:
    return d.reply(query, [right(query), evil(query)])[:-by]


@tells(NOTHING)
def header_alone(query: Query) -> bytes:
    return d.reply(query, question=b"")


@tells(NOTHING)
def empty_datagram(query: Query) -> Reaction:
    return over_tcp(query, b"", EMPTY)


@tells(NOTHING)
def eleven_bytes(query: Query) -> bytes:
    return good(query)[:11]


@tells(NOTHING)
def noise(query: Query) -> bytes:
    return query.data[:2] + bytes(range(256))


for _label, _change in (("minus-1", -1), ("plus-1", 1)):
    tell(f"rdlength-{_label}", NOTHING, partial(rdlength, change=_change))
    tell(f"rdata-{_label}", NOTHING, partial(rdlength, change=_change, bare=True))
    tell(f"first-rdlength-{_label}", NOTHING, partial(rdlength_first, change=_change))
    tell(f"cname-rdlength-{_label}", NOTHING, partial(cname_rdlength, change=_change))
for _section, _count in enumerate(("qdcount", "ancount", "nscount", "arcount")):
    for _label, _change in (("minus-1", -1), ("plus-1", 1), ("65535", 65535)):
        tell(f"{_count}-{_label}", NOTHING, partial(count, section=_section, change=_change))
tell("cut-by-1", NOTHING, partial(cut_short, by=1))
tell("cut-in-the-middle", NOTHING, partial(cut_short, by=13))
