"""Bytes of element transactions that the kernel is not asked about; the rest is in tests/netns."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.firewall.elements import (
    COMMENT_MAX,
    Batch,
    Element,
    acknowledgements,
    attribute,
    comment,
    element,
    lasting,
)
from dynallow.firewall.readback import _member, _usual_member, parse_dump

HEADER = struct.Struct("=IHHII")
ACK = 0x4


def messages(datagram: bytes) -> list[tuple[int, int, int]]:
    """(type, flags, sequence) of each message; they must fill the datagram exactly."""
    found, at = [], 0
    while at < len(datagram):
        length, kind, flags, sequence, _ = HEADER.unpack_from(datagram, at)
        assert length % 4 == 0
        assert 16 <= length <= len(datagram) - at
        found.append((kind, flags, sequence))
        at += length
    return found


@given(
    st.lists(st.tuples(st.sampled_from(["web_v4", "apt_v4"]), st.booleans(), st.integers(0, 240))),
)
def test_batch_asks_for_one_acknowledgement_of_its_last_message(steps: list[tuple[str, bool, int]]) -> None:
    batch = Batch()
    for name, remove, length in steps:
        if remove:
            batch.remove(name, bytes(4))
        else:
            batch.add(Element(name, bytes(4), 1000, b"x" * length))
    found = messages(batch.pack(77))
    assert (found[0][0], found[-1][0]) == (0x10, 0x11)
    assert [sequence for _, flags, sequence in found if flags & ACK] == ([77] if steps else [])
    if steps:
        assert found[-2][1] & ACK


def test_batch_many_elements_of_the_longest_kind_stay_within_a_nested_attribute() -> None:
    batch = Batch()
    for number in range(1000):
        batch.add(Element("web_v6", number.to_bytes(16, "big"), 1000, b"x" * COMMENT_MAX))
    datagram, at = batch.pack(1), 0
    while at < len(datagram):
        (length,) = struct.unpack_from("=I", datagram, at)
        assert length < 1 << 16
        at += length


@pytest.mark.parametrize("size", [4, 16])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, COMMENT_MAX])
def test_batch_elements_packed_with_what_they_share_are_those_added_one_by_one(
    size: int, length: int
) -> None:
    addresses = [number.to_bytes(size, "big") for number in range(300)]
    text = b"x" * length
    singly, together = Batch(), Batch()
    for address in addresses:
        singly.add(Element("web", address, 70_250, text))
    shared = lasting(70_250, text)
    together.add_all("web", [element(address, shared) for address in addresses])
    assert together.pack(7) == singly.pack(7)


@given(st.binary(max_size=300))
def test_parse_dump_any_bytes_end_without_an_error(datagram: bytes) -> None:
    parse_dump(datagram)
    list(acknowledgements(datagram))


@pytest.mark.parametrize("size", range(5))
@pytest.mark.parametrize("kind", [2, 3])
def test_end_that_is_cut_in_its_header_or_its_number_is_no_error_and_no_acknowledgement(
    kind: int, size: int
) -> None:
    header = struct.pack("=IHHII", 16 + size, kind, 0, 7, 0)
    datagram = header + struct.pack("=i", 0)[:size]
    whole = size == 4 and kind == 2
    assert list(acknowledgements(datagram)) == ([(7, 0)] if whole else [])
    assert parse_dump(datagram).done


def test_comment_of_a_name_is_the_name() -> None:
    assert comment("_sip._tcp.deb.example.org") == b"_sip._tcp.deb.example.org"
    assert comment("") == b""


def test_comment_of_the_longest_names_is_cut_and_says_so() -> None:
    assert comment("x" * COMMENT_MAX) == b"x" * COMMENT_MAX
    cut = comment("x" * (COMMENT_MAX + 1))
    assert len(cut) == COMMENT_MAX
    assert cut.endswith(b"x...")


def test_comment_of_odd_bytes_is_left_out_whole() -> None:
    for odd in ('a"b', "a\\255b", "aüb", "a\nb", "a\x7fb"):
        assert comment(odd) == b"..."


@given(
    st.sampled_from([4, 16]),
    st.binary(max_size=16),
    st.integers(0, 2**40),
    st.integers(0, 2**63),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=COMMENT_MAX),
    st.booleans(),
)
def test_element_read_at_one_stroke_is_the_one_read_by_its_attributes(
    size: int, address: bytes, expires_ms: int, count: int, comment: str, counted: bool
) -> None:
    counter = attribute(1, count.to_bytes(8, "big")) + attribute(2, (count // 7).to_bytes(8, "big"))
    body = attribute(1, attribute(1, address.ljust(size, b"\1")[:size]))
    if counted:
        body += attribute(7, attribute(1, b"counter\0") + attribute(2, counter))
    body += attribute(4, expires_ms.to_bytes(8, "big")) + attribute(5, expires_ms.to_bytes(8, "big"))
    if comment:
        body += attribute(6, bytes((0, len(comment) + 1)) + comment.encode() + b"\0")
    usual = _usual_member(body, 0, len(body))
    assert (usual is not None) is counted
    assert usual in (None, _member(body, 0, len(body)))
    for cut in range(0, len(body), 4):
        _usual_member(body[:cut], 0, cut)
