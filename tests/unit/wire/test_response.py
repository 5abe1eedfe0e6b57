"""Upstream responses: what is read, and every lie that sinks the whole message."""

from __future__ import annotations

import struct

import pytest

from dynallow.errors import WireError
from dynallow.wire.response import MismatchError, Response, parse_response
from tests.unit.wire.messages import (
    AAAA,
    AT_QUESTION,
    CDN,
    CNAME,
    DEB,
    EDGE,
    EVIL,
    NO_EDNS_OPTIONS,
    NS,
    ONE,
    OPT,
    ORG,
    REPLY,
    ROOT,
    SOA,
    TWO,
    TXT,
    A,
    asked,
    header,
    pointer,
    reply,
    rr,
    soa,
)

AFTER_QUESTION = 12 + len(asked())


def read(packet: bytes, *, id: int = 7, name: bytes = DEB, qtype: int = A) -> Response:
    return parse_response(packet, id=id, name=name, qtype=qtype)


def rdata_of(rtype: int, rdata: bytes) -> bytes:
    return read(reply(rr(DEB, rtype, rdata))).answer[0][3]


def assert_malformed(packet: bytes) -> None:
    with pytest.raises(WireError) as caught:
        read(packet)
    assert not isinstance(caught.value, MismatchError)


def test_response_chain_with_compression_gives_plain_lower_case_records() -> None:
    target = b"\x03CDN\x07Example\x03nEt\0"
    at_target = AFTER_QUESTION + 12
    response = read(
        reply(
            rr(AT_QUESTION, CNAME, target),
            rr(pointer(at_target), CNAME, b"\x04edge" + pointer(at_target)),
            rr(pointer(at_target + len(target) + 12), A, ONE, ttl=60),
            rr(EDGE, A, TWO, ttl=60),
        )
    )
    assert response.answer == (
        (DEB, CNAME, 300, CDN),
        (CDN, CNAME, 300, EDGE),
        (EDGE, A, 60, ONE),
        (EDGE, A, 60, TWO),
    )
    assert (response.id, response.flags, response.rcode) == (7, REPLY, 0)
    assert not response.truncated
    assert not response.questionless


def test_response_pointer_into_the_middle_of_the_question_name_is_followed() -> None:
    response = read(reply(rr(pointer(12 + 4), NS, b"\x02ns" + pointer(12 + 4))))
    assert response.answer == ((ORG, NS, 300, b"\x02ns" + ORG),)


def test_response_pointer_to_a_pointer_is_followed() -> None:
    response = read(reply(rr(AT_QUESTION, A, ONE), rr(pointer(AFTER_QUESTION), A, TWO)))
    assert [record[0] for record in response.answer] == [DEB, DEB]


def test_response_additional_records_are_checked_and_dropped() -> None:
    response = read(reply(rr(DEB, A, ONE), additional=(rr(EVIL, A, TWO),)))
    assert response.answer == ((DEB, A, 300, ONE),)
    assert response.authority == ()
    assert_malformed(reply(rr(DEB, A, ONE), additional=(rr(EVIL, A, TWO + b"x"),)))


@pytest.mark.parametrize(("ttl", "read_as"), [(0, 0), (2**31 - 1, 2**31 - 1), (2**31, 0), (2**32 - 1, 0)])
def test_response_ttl_from_2_to_the_31_reads_as_0(ttl: int, read_as: int) -> None:
    assert read(reply(rr(DEB, A, ONE, ttl=ttl))).answer[0][2] == read_as


def test_response_record_of_class_chaos_grants_nothing_but_is_checked() -> None:
    assert read(reply(rr(DEB, A, ONE, rclass=3), rr(DEB, A, TWO))).answer == ((DEB, A, 300, TWO),)
    assert_malformed(reply(rr(DEB, A, ONE, rclass=3, length=5)))


def test_response_tc_is_told() -> None:
    assert read(reply(flags=REPLY | 0x0200)).truncated


def test_response_extended_rcode_is_joined() -> None:
    assert read(reply(additional=(rr(ROOT, OPT, b"", ttl=0x01000000, rclass=1232),))).rcode == 16
    assert read(reply(additional=(NO_EDNS_OPTIONS,), flags=REPLY | 3)).rcode == 3


# Not the answer to our question


@pytest.mark.parametrize(
    "packet",
    [
        header(id=8) + asked(),
        header(flags=0x0100) + asked(),
        header(flags=REPLY | 0x2000) + asked(),
        header() + asked(CDN),
        header() + asked(qtype=AAAA),
        header() + asked(qclass=3),
        header() + asked(b"\x03dEb\x07example\x03org\0"),
        header() + asked()[:-1],
        header(qd=0, an=1) + rr(DEB, A, ONE),
        header(qd=2) + asked() + asked(),
        header(qd=0),
    ],
    ids=["id", "query", "opcode", "name", "type", "class", "case", "short", "qd0-data", "qd2", "qd0-noerror"],
)
def test_response_to_something_else_is_a_mismatch(packet: bytes) -> None:
    with pytest.raises(MismatchError):
        read(packet)


def test_response_bare_header_with_formerr_is_questionless() -> None:
    response = read(header(flags=0x8001, qd=0))
    assert response == Response(7, 0x8001, 1, (), (), questionless=True)


@pytest.mark.parametrize("packet", [header(id=8, flags=0x8001, qd=0), header(flags=0x8001, qd=0) + b"\0"])
def test_response_bare_header_with_wrong_id_or_more_bytes_is_a_mismatch(packet: bytes) -> None:
    with pytest.raises(MismatchError):
        read(packet)


# Lies


@pytest.mark.parametrize(
    ("rtype", "rdata"),
    [
        (A, ONE + b"\0"),
        (A, ONE[:3]),
        (A, b""),
        (AAAA, ONE),
        (AAAA, bytes(17)),
        (CNAME, CDN + b"\0"),
        (CNAME, CDN[:-1]),
        (CNAME, b""),
        (NS, CDN + CDN),
        (12, CDN[:-1]),
        (39, CDN + b"\0"),
        (39, AT_QUESTION),
        (36, b"\0\1" + AT_QUESTION),
        (SOA, soa(60)[:-1]),
        (SOA, soa(60) + b"\0"),
        (15, b"\0" + CDN[1:]),
        (15, b"\0"),
        (33, bytes(5)),
        (33, bytes(6)),
        (33, bytes(6) + CDN + b"x"),
        (TXT, b""),
        (TXT, b"\x05four"),
        (TXT, b"\x04four\x01"),
        (35, bytes(4) + b"\x01S\x00"),
        (35, b"\0\0"),
        (64, b"\0\1"),
        (65, b"\0\1" + CDN[:-1]),
        (65, b"\0\1" + AT_QUESTION),
        (65, b"\0\1\0" + b"\0\4\0\4" + ONE[:3]),
        (65, b"\0\1\0" + b"\0\4\0\5" + ONE + b"\0"),
        (65, b"\0\1\0" + b"\0\3\0\2\1\xbb" + b"\0\1\0\3\x02h2"),
        (65, b"\0\1\0" + b"\0\3\0\2\1\xbb" + b"\0\3\0\2\1\xbb"),
        (65, b"\0\1\0" + b"\0\3\0"),
    ],
)
def test_response_rdata_that_does_not_fit_its_type_sinks_the_message(rtype: int, rdata: bytes) -> None:
    good, bad = rr(DEB, A, ONE), rr(DEB, rtype, rdata)
    assert_malformed(reply(good, bad))
    assert_malformed(reply(good, authority=(bad,)))
    assert_malformed(reply(good, additional=(bad,)))
    assert_malformed(reply(bad, good))


@pytest.mark.parametrize(
    ("rtype", "rdata"),
    [
        (AAAA, bytes(16)),
        (15, b"\0\x0a" + CDN),
        (33, b"\0\0\0\0\1\xbb" + CDN),
        (TXT, b"\x04four\0"),
        (35, b"\0\1\0\2\1S\3abc\0" + CDN),
        (65, b"\0\1\0" + b"\0\1\0\3\x02h2" + b"\0\4\0\4" + ONE),
        (SOA, soa(60)),
        (257, b"anything at all"),
        (65280, b""),
    ],
)
def test_response_rdata_that_fits_is_given_whole(rtype: int, rdata: bytes) -> None:
    assert rdata_of(rtype, rdata) == rdata


def test_response_naptr_and_old_types_lose_their_pointers() -> None:
    assert rdata_of(35, b"\0\1\0\2\1S\3aBc\0" + AT_QUESTION) == b"\0\1\0\2\1S\3aBc\0" + DEB
    assert rdata_of(17, AT_QUESTION + b"\x01X" + AT_QUESTION) == DEB + b"\x01x" + DEB
    assert rdata_of(18, b"\0\1" + AT_QUESTION) == b"\0\1" + DEB


@pytest.mark.parametrize("counts", [(0, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1), (65535, 65535, 65535)])
def test_response_counts_that_lie_sink_the_message(counts: tuple[int, int, int]) -> None:
    an, ns, ar = counts
    assert_malformed(header(an=an, ns=ns, ar=ar) + asked() + rr(DEB, A, ONE))


def test_response_trailing_byte_sinks_the_message() -> None:
    assert_malformed(reply(rr(DEB, A, ONE)) + b"\0")


def test_response_cut_anywhere_is_refused() -> None:
    whole = reply(
        rr(AT_QUESTION, CNAME, CDN),
        rr(CDN, A, ONE),
        authority=(rr(ORG, SOA, soa(60)),),
        additional=(NO_EDNS_OPTIONS,),
    )
    read(whole)
    for cut in range(len(whole)):
        with pytest.raises(WireError):
            read(whole[:cut])


@pytest.mark.parametrize("rdlength", [0, 3, 5, 16, 65535])
def test_response_rdlength_that_lies_sinks_the_message(rdlength: int) -> None:
    assert_malformed(reply(rr(DEB, A, ONE, length=rdlength)))
    assert_malformed(reply(rr(DEB, A, ONE, length=rdlength), rr(DEB, A, TWO)))


def test_response_longer_than_a_message_can_be_is_refused() -> None:
    assert_malformed(reply(*(rr(DEB, A, ONE) for _ in range(2500))))


# OPT


@pytest.mark.parametrize(
    "sections",
    [
        reply(NO_EDNS_OPTIONS),
        reply(authority=(NO_EDNS_OPTIONS,)),
        reply(additional=(NO_EDNS_OPTIONS, NO_EDNS_OPTIONS)),
        reply(additional=(rr(DEB, OPT, b""),)),
        reply(additional=(rr(ROOT, OPT, b"\0\x0a\0"),)),
        reply(additional=(rr(ROOT, OPT, b"\0\x0a\0\x02x"),)),
    ],
    ids=["in-answer", "in-authority", "two", "owner", "stub", "option-long"],
)
def test_response_opt_out_of_place_or_shape_sinks_the_message(sections: bytes) -> None:
    assert_malformed(sections)


@pytest.mark.parametrize("rclass", [1, 255])
def test_response_tsig_out_of_place_sinks_the_message(rclass: int) -> None:
    """It stands last in the additional section or nowhere (RFC 8945 section 5.1)."""
    address, tsig = rr(AT_QUESTION, A, ONE), rr(DEB, 250, bytes(17), rclass=rclass)
    assert read(reply(address, additional=(tsig,))).answer
    for sections in (reply(tsig, address), reply(address, tsig), reply(address, authority=(tsig,))):
        with pytest.raises(WireError):
            read(sections)


# Names


@pytest.mark.parametrize(
    "owner",
    [
        pointer(AFTER_QUESTION),
        pointer(AFTER_QUESTION + 2),
        pointer(0),
        pointer(11),
        pointer(0x3FFF),
        b"\x03deb" + pointer(AFTER_QUESTION),
        b"\x01a" + pointer(AFTER_QUESTION + 2),
        b"\x80deb\0",
        b"\x40" + b"a" * 64 + b"\0",
        b"\xc0",
    ],
)
def test_response_owner_with_bad_pointer_or_label_sinks_the_message(owner: bytes) -> None:
    assert_malformed(reply(rr(owner, A, ONE)))


@pytest.mark.parametrize("tail", [b"\x01a", b"\x01", b"\x02", b"\x0c"])
def test_response_pointer_to_labels_that_run_into_it_sinks_the_message(tail: bytes) -> None:
    # The label swallows the pointer or stops short of it: bytes read as two things, either way.
    opaque = rr(DEB, 65280, tail)
    owner = pointer(AFTER_QUESTION + len(opaque) - len(tail))
    assert_malformed(reply(opaque, rr(owner, A, ONE), rr(ROOT, A, bytes(4))))


def test_response_piece_that_runs_over_the_piece_before_it_sinks_the_message() -> None:
    # owner → second → first, where the label of first reaches past the start of second.
    at_first = AFTER_QUESTION + len(DEB) + 10
    first = b"\x03abc"
    second = b"\x01z" + pointer(at_first)
    assert_malformed(reply(rr(DEB, 65280, first + second + ROOT), rr(pointer(at_first + 3), A, ONE)))
    assert_malformed(reply(rr(DEB, 65280, first + second + ROOT), rr(pointer(at_first + 4), A, ONE)))


def test_response_pointer_cut_by_the_piece_that_leads_to_it_sinks_the_message() -> None:
    at_data = AFTER_QUESTION + len(DEB) + 10
    # Its first byte is the last of the data, its second the first of the owner that points there:
    # together they would name the question.
    owner = b"\x0ctwelve bytes" + pointer(at_data)
    assert_malformed(header(an=1, ns=1) + asked() + rr(DEB, 65280, b"\x01a\xc0") + rr(owner, A, ONE))


def test_response_piece_whose_pointer_leads_back_into_it_sinks_the_message() -> None:
    # Found by the fuzzer: the last owner names the low byte of RDLENGTH, a label of five bytes up to an
    # owner that was read before and points into that very label.
    inner = rr(DEB, NS, b"\x02ns" + pointer(16))
    at_data = AFTER_QUESTION + len(DEB) + 10
    glue = rr(pointer(at_data), A, ONE)
    assert_malformed(reply(inner, glue, rr(pointer(at_data - 1), A, ONE)))
    read(reply(inner, glue, rr(pointer(at_data), A, ONE)))


@pytest.mark.parametrize("label", [b"\x40", b"\x80"])
def test_response_reserved_label_behind_a_pointer_sinks_the_message(label: bytes) -> None:
    # Read as a pointer it would lead to the question.
    opaque = rr(DEB, 65280, label + b"\x0c")
    assert_malformed(reply(opaque, rr(pointer(AFTER_QUESTION + len(opaque) - 2), A, ONE)))


def test_response_two_pointers_at_each_other_sink_the_message() -> None:
    first = AFTER_QUESTION + len(DEB) + 10
    assert_malformed(
        reply(rr(DEB, 65280, pointer(first + 2) + pointer(first)), rr(pointer(first + 2), A, ONE))
    )


def test_response_name_that_grows_past_255_bytes_by_pointers_sinks_the_message() -> None:
    half = b"\x3f" + b"a" * 63
    at_first = AFTER_QUESTION
    fits = rr(half * 3 + b"\0", A, ONE)
    assert len(read(reply(fits, rr(b"\x3c" + b"b" * 60 + pointer(at_first), A, ONE))).answer[1][0]) == 254
    assert_malformed(reply(fits, rr(b"\x3e" + b"b" * 62 + pointer(at_first), A, ONE)))


def test_response_label_that_holds_a_pointer_byte_is_only_a_label() -> None:
    odd = b"\x02\xc0\x0c\0"
    assert read(reply(rr(odd, A, ONE))).answer[0][0] == odd


def test_response_upper_case_beyond_ascii_is_left_alone() -> None:
    assert read(reply(rr(b"\x03A\xc4\xdc\0", A, ONE))).answer[0][0] == b"\x03a\xc4\xdc\0"


def test_response_soa_in_authority_has_its_names_in_lower_case() -> None:
    rdata = soa(60, b"\x02NS" + AT_QUESTION, b"\x04Root" + AT_QUESTION)
    response = read(reply(authority=(rr(AT_QUESTION, SOA, rdata),)))
    assert response.authority == ((DEB, SOA, 300, soa(60, b"\x02ns" + DEB, b"\x04root" + DEB)),)
    assert struct.unpack(">I", response.authority[0][3][-4:]) == (60,)
