"""The case of a question's letters, invariant: whatever it is, it comes off again and changes nothing.

Any name in any case is the name; an answer that echoes it, with pointers into the question or
names in whatever case of their own, reads as the same records as one in lower case.
"""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from dynallow.wire import numbers as n
from dynallow.wire.chain import walk
from dynallow.wire.query import build_mixed, build_query, cookie_in, cookie_opt
from dynallow.wire.response import parse_response
from tests.unit.wire.messages import ONE, pointer, rr

_BYTES = st.binary(min_size=255, max_size=255)
_LABEL = st.one_of(
    st.binary(min_size=1, max_size=63),
    st.text("abcdefghijklmnopqrstuvwxyz-0123456789", min_size=1, max_size=63).map(str.encode),
)


@st.composite
def names(draw: st.DrawFn) -> bytes:
    wire = b""
    for label in draw(st.lists(_LABEL, min_size=1, max_size=6)):
        if len(wire) + len(label) < 254:
            wire += bytes((len(label),)) + label.lower()
    return wire + b"\0"


def sent(name: bytes, noise: bytes, cookie: bytes = b"") -> bytes:
    return build_mixed(7, name, n.A, cookie_opt(cookie), noise[: len(name)])


@given(names(), _BYTES)
def test_mixed_name_is_the_name_with_the_case_that_the_noise_says(name: bytes, noise: bytes) -> None:
    query = sent(name, noise)
    written = query[n.HEADER_SIZE : n.HEADER_SIZE + len(name)]
    assert written.lower() == name
    for before, after, bits in zip(name, written, noise, strict=False):
        is_letter = ord("a") <= before <= ord("z")
        assert after == (before ^ 0x20 if is_letter and bits & 0x20 else before)
    assert query[n.HEADER_SIZE + len(name) :] == build_query(7, name, n.A)[n.HEADER_SIZE + len(name) :]


@given(names(), _BYTES, st.binary(min_size=8, max_size=40))
def test_cookie_in_a_query_is_the_one_that_was_put_in(name: bytes, noise: bytes, cookie: bytes) -> None:
    assert cookie_in(sent(name, noise, cookie), name, 8) == cookie[:8]
    assert cookie_in(sent(name, noise), name, 8) == b""


@given(names(), _BYTES, _BYTES, st.data())
def test_answer_in_any_case_reads_as_the_one_in_lower_case(
    name: bytes, asked: bytes, owner: bytes, data: st.DataObject
) -> None:
    query = sent(name, asked)
    section = query[n.HEADER_SIZE : n.HEADER_SIZE + len(name) + 4]
    other = sent(name, owner)[n.HEADER_SIZE : n.HEADER_SIZE + len(name)]
    label = 1 + name[0]
    end = n.HEADER_SIZE + len(section)
    written, target = data.draw(
        st.sampled_from(
            [
                (rr(pointer(12), n.A, ONE), b""),
                (rr(other, n.A, ONE), b""),
                (rr(other[:label] + pointer(12 + label), n.A, ONE), b""),
                # a CNAME to the name's own parent below another label, then its address
                (
                    rr(pointer(12), n.CNAME, b"\x03CdN" + pointer(12 + label))
                    + rr(pointer(end + 12), n.A, ONE),
                    b"\x03cdn" + name[label:],
                ),
            ]
        )
    )
    head = struct.pack(">6H", 7, 0x8180, 1, 2 if target else 1, 0, 0)
    if len(target) > 255:
        return
    response = parse_response(head + section + written, id=7, name=name, qtype=n.A, section=section)
    found = walk(response, name, n.A)
    assert found.end == (target or name)
    assert [(record[0], record[3]) for record in found.final] == [(found.end, ONE)]
