"""What happens on the way: truncation, TCP that lies, datagrams too large, silence. Pure."""

from __future__ import annotations

import struct
from functools import partial

from tests.lab import dnsbytes as d
from tests.lab.dnsbytes import Query
from tests.lab.lies.pieces import (
    EMPTY,
    GOOD,
    NOTHING,
    evil,
    good,
    over_tcp,
    rdata,
    tell,
    tells,
    truncated,
)
from tests.lab.scenarios import Reaction, Send


@tells(GOOD)
def tc_with_data_then_tcp(query: Query) -> Reaction:
    """UDP's truncated data is evil, TCP's is right."""
    return over_tcp(query, truncated(query, [evil(query)]), good(query))


@tells(NOTHING)
def tc_over_tcp(query: Query) -> bytes:
    return truncated(query, [evil(query)])


def tc_then(query: Query, tcp: Reaction) -> Reaction:
    return over_tcp(query, truncated(query, [evil(query)]), tcp)


def tcp_length(query: Query, change: int) -> Reaction:
    message = d.reply(query, [evil(query)])
    frame = struct.pack("!H", len(message) + change) + message
    return tc_then(query, Send(frame, framed=False, close=True))


@tells(NOTHING)
def tcp_length_zero(query: Query) -> Reaction:
    return tc_then(query, Send(b"\0\0" + d.reply(query, [evil(query)]), framed=False, close=True))


@tells(NOTHING)
def tcp_closes_early(query: Query) -> Reaction:
    message = d.reply(query, [evil(query)])
    frame = struct.pack("!H", len(message)) + message
    return tc_then(query, Send(frame[:-6], framed=False, close=True))


@tells(NOTHING)
def tcp_closes_at_once(query: Query) -> Reaction:
    return tc_then(query, EMPTY)


@tells(NOTHING)
def tcp_silent(query: Query) -> Reaction:
    return tc_then(query, None)


@tells(NOTHING)
def tcp_half_then_silent(query: Query) -> Reaction:
    return tc_then(query, Send(struct.pack("!H", 400) + b"\0" * 20, framed=False))


@tells(GOOD)
def tcp_two_messages(query: Query) -> Reaction:
    """The right one, and one that nobody asked for on the same connection."""
    return tc_then(query, [good(query), d.reply(query, [evil(query)])])


@tells(NOTHING)
def tcp_wrong_id(query: Query) -> Reaction:
    return tc_then(query, d.reply(query, [evil(query)], message_id=query.id ^ 7))


@tells(NOTHING)
def udp_of_20_kb(query: Query) -> Reaction:
    many = [d.rr(d.ASKED, query.qtype, rdata(query)[:-2] + struct.pack("!H", n)) for n in range(700)]
    return over_tcp(query, d.reply(query, many), EMPTY)


@tells(NOTHING)
def silence(query: Query) -> None:
    return None


tell("tcp-length-plus-1", NOTHING, partial(tcp_length, change=1))
tell("tcp-length-minus-1", NOTHING, partial(tcp_length, change=-1))
