"""Answers to something else, or from somebody else: dropped, and the waiting goes on. Pure."""

from __future__ import annotations

import struct
from functools import partial

from tests.lab import dnsbytes as d
from tests.lab.dnsbytes import Query
from tests.lab.lies.lengths import rdlength
from tests.lab.lies.pieces import (
    EMPTY,
    GOOD,
    NOTHING,
    PLAIN,
    evil,
    good,
    over_tcp,
    tell,
    tells,
)
from tests.lab.scenarios import Reaction, Send
from tests.lab.topology import OTHER_NAME_SERVER


@tells(NOTHING)
def wrong_id(query: Query) -> Reaction:
    return over_tcp(query, d.reply(query, [evil(query)], message_id=query.id ^ 1), EMPTY)


@tells(GOOD)
def wrong_id_then_right(query: Query) -> Reaction:
    wrong = d.reply(query, [evil(query)], message_id=query.id ^ 0x8000)
    return over_tcp(query, [wrong, Send(good(query), delay_s=0.02)], EMPTY)


@tells(GOOD)
def wrong_id_then_tcp(query: Query) -> Reaction:
    wrong = d.reply(query, [evil(query)], message_id=query.id ^ 0x8000)
    return over_tcp(query, wrong, good(query))


@tells(NOTHING)
def wrong_id_over_tcp_too(query: Query) -> bytes:
    return d.reply(query, [evil(query)], message_id=(query.id + 1) & 0xFFFF)


def question(query: Query, *, change: str) -> Reaction:
    """Another question in the echo."""
    name, tail = query.name, query.question[-4:]
    other = {
        "name": d.name("other.example.org") + tail,
        "type": name + struct.pack("!HH", d.AAAA if query.qtype == d.A else d.A, d.IN),
        "class": name + struct.pack("!HH", query.qtype, d.CH),
        "case": name.upper() + tail,
        "longer": b"\x03www" + name + tail,
        "pointer": b"\xc0\x0c" + tail,
    }[change]
    owner = d.name("other.example.org") if change == "name" else d.name(query.text)
    answer = [evil(query, owner)]
    return over_tcp(query, d.reply(query, answer, question=other), EMPTY)


@tells(NOTHING)
def no_question(query: Query) -> Reaction:
    return over_tcp(query, d.reply(query, [evil(query, query.name)], question=b""), EMPTY)


@tells(NOTHING)
def two_questions(query: Query) -> Reaction:
    both = query.question + d.name("other.example.org") + query.question[-4:]
    return over_tcp(query, d.reply(query, [evil(query)], question=both, counts=(2, 1, 0, 0)), EMPTY)


@tells(NOTHING)
def not_a_response(query: Query) -> Reaction:
    return over_tcp(query, d.reply(query, [evil(query)], flags=d.RD), EMPTY)


def opcode(query: Query, number: int) -> Reaction:
    return over_tcp(query, d.reply(query, [evil(query)], flags=PLAIN | number << 11), EMPTY)


@tells(NOTHING)
def echo_of_the_query(query: Query) -> Reaction:
    return over_tcp(query, query.data, EMPTY)


def _spoof(query: Query, source: tuple[str, int]) -> Reaction:
    forged = Send(d.reply(query, [evil(query)]), source=source)
    return over_tcp(query, [forged, Send(good(query), delay_s=0.02)], good(query))


@tells(GOOD)
def wrong_source_port(query: Query) -> Reaction:
    return _spoof(query, (query.server[0], 5353))


@tells(GOOD)
def wrong_source_address(query: Query) -> Reaction:
    return _spoof(query, (OTHER_NAME_SERVER[":" in query.server[0]], 53))


@tells(GOOD)
def garbage_then_right(query: Query) -> Reaction:
    bad = [d.reply(query, [evil(query)], trailing=b"\0"), rdlength(query, 1), good(query)[:11], query.data]
    return over_tcp(query, [*bad, Send(good(query), delay_s=0.02)], EMPTY)


@tells(GOOD)
def flood_then_right(query: Query) -> Reaction:
    """200 guesses at the id, and then the server's own answer."""
    flood = [
        Send(d.reply(query, [evil(query)], message_id=(query.id + 1 + n) & 0xFFFF), delay_s=n / 5_000)
        for n in range(200)
    ]
    return over_tcp(query, [*flood, Send(good(query), delay_s=0.05)], EMPTY)


@tells(GOOD)
def right_then_evil(query: Query) -> Reaction:
    return [good(query), d.reply(query, [evil(query)])]


for _change in ("name", "type", "class", "case", "longer", "pointer"):
    tell(f"question-{_change}", NOTHING, partial(question, change=_change))
for _number in (1, 2, 4, 5, 15):
    tell(f"opcode-{_number}", NOTHING, partial(opcode, number=_number))
