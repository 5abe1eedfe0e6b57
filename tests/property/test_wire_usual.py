"""What is read or rendered in one step is what the thorough way makes of it, or is left to that.

The quick looks of wire/ (`_usual` in response.py, one record in render.py) stand beside a general way
that says the same; here both are asked.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynallow.errors import WireError
from dynallow.wire.numbers import AAAA, CNAME, SOA, A
from dynallow.wire.render import render
from dynallow.wire.response import Record, Response, _usual, parse_in_slices

DEB = b"\x03deb\x07example\x03org\0"
SECTION = b"\x03dEb\x07eXample\x03org" + struct.pack(">BHH", 0, A, 1)
OPT = struct.pack(">BHHIH", 0, 41, 1232, 0, 0)

_words = st.sampled_from((0, 1, 2, 0x8180, 0x8182, 0x8400, 0x0100, 7, 8))
_pieces = st.one_of(
    st.sampled_from(
        (
            b"\xc0\x0c" + struct.pack(">HHIH", A, 1, 300, 4) + b"\xc6\x12\0\1",
            b"\xc0\x0c" + struct.pack(">HHIH", A, 3, 1 << 31, 4) + b"\xc6\x12\0\1",
            b"\xc0\x0c" + struct.pack(">HHIH", AAAA, 1, 60, 4) + bytes(4),
            b"\xc0\x0c" + struct.pack(">HHIH", CNAME, 1, 300, 6) + b"\x03cdn\xc0\x10",
            b"\xc0\x29" + struct.pack(">HHIH", A, 1, 300, 4) + b"\xc6\x12\0\1",
            OPT,
            struct.pack(">BHHIH", 0, 41, 1232, 5 << 24, 0),
            struct.pack(">BHHIH", 0, 41, 1232, 0, 1),
            struct.pack(">BHHIH", 0, 41, 1232, 0, 12) + struct.pack(">HH8s", 10, 8, b"cookies!"),
        )
    ),
    st.binary(max_size=12),
)


def thorough(packet: bytes) -> Response | None:
    try:
        *_, response = parse_in_slices(packet, id=7, name=DEB, qtype=A, section=SECTION)
    except WireError:
        return None
    return response


@settings(max_examples=4 * settings().max_examples)
@given(
    head=st.one_of(
        st.tuples(st.sampled_from((7, 8)), _words, *[st.integers(0, 2)] * 4),
        st.tuples(st.just(7), st.just(0x8180), st.just(1), st.integers(0, 2), st.just(0), st.just(1)),
    ),
    section=st.sampled_from((SECTION, SECTION, SECTION.lower())),
    pieces=st.lists(_pieces, max_size=4),
)
def test_usual_answer_is_what_the_thorough_look_reads_or_none(
    head: tuple[int, ...], section: bytes, pieces: list[bytes]
) -> None:
    packet = struct.pack(">6H", *head) + section + b"".join(pieces)
    response = _usual(packet, 7, DEB, SECTION)
    assert response is None or response == thorough(packet)


@pytest.mark.parametrize(
    "end",
    [
        b"",
        OPT,
        struct.pack(">BHHIH", 0, 41, 1232, 5 << 24, 0),
        struct.pack(">BHHIH", 0, 41, 1232, 0, 1),
        struct.pack(">BHHIH", 0, 41, 1232, 0, 12) + struct.pack(">HH8s", 10, 8, b"cookies!"),
        OPT + OPT,
        OPT[:-1],
    ],
)
@pytest.mark.parametrize("count", [0, 1, 2])
def test_usual_answer_whatever_stands_at_its_end_is_what_the_thorough_look_reads_or_none(
    end: bytes, count: int
) -> None:
    records = b"".join(
        b"\xc0\x0c" + struct.pack(">HHIH", A, 1, 300, 4) + b"\xc6\x12\0" + bytes((number,))
        for number in range(2)
    )
    packet = struct.pack(">6H", 7, 0x8180, 1, count, 0, 1) + SECTION + records[: 16 * count] + end
    response = _usual(packet, 7, DEB, SECTION)
    assert response is None or response == thorough(packet)
    assert (response is None) == (len(end) != len(OPT) or end[-1:] != b"\0")


def test_usual_answer_of_one_address_needs_no_other_look() -> None:
    record = b"\xc0\x0c" + struct.pack(">HHIH", A, 1, 300, 4) + b"\xc6\x12\0\1"
    packet = struct.pack(">6H", 7, 0x8180, 1, 1, 0, 1) + SECTION + record + OPT
    assert _usual(packet, 7, DEB, SECTION) == thorough(packet) is not None


@given(
    record=st.tuples(
        st.sampled_from((DEB, b"\x03org\0")),
        st.sampled_from((A, AAAA, CNAME, SOA)),
        st.integers(0, 2**31 - 1),
        st.one_of(st.just(DEB), st.binary(max_size=40)),
    ),
    edns=st.booleans(),
    told=st.one_of(st.none(), st.integers(0, 86400)),
    rcode=st.sampled_from((0, 3, 16)),
    max_size=st.integers(40, 120),
    ede=st.sampled_from((None, (3, "stale"))),
)
def test_reply_of_one_record_is_the_same_whether_or_not_its_name_is_at_hand(
    record: Record, edns: bool, told: int | None, rcode: int, max_size: int, ede: tuple[int, str] | None
) -> None:
    with_name, without = (
        render(
            SECTION,
            flags=0x0100,
            rcode=rcode,
            name=name,
            records=(record,),
            ttl_s=told,
            edns=edns,
            ede=ede,
            max_size=max_size,
        )
        for name in (DEB, b"")
    )
    assert with_name == without
