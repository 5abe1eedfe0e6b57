"""Replies as bytes: what is echoed, compressed, cut, and how a kept one ages."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from dynallow.wire.numbers import CD, DO, RD
from dynallow.wire.query import build_query
from dynallow.wire.question import parse_question
from dynallow.wire.render import EDE_TEXT_MAX, Template, render, retold
from dynallow.wire.response import Record, parse_response
from tests.unit.wire.messages import (
    AAAA,
    AT_QUESTION,
    CDN,
    CNAME,
    DEB,
    EDGE,
    ONE,
    ORG,
    SOA,
    TWO,
    A,
    asked,
    rr,
    soa,
)

ID = b"\xbe\xef"
CHAIN = (
    (DEB, CNAME, 300, CDN),
    (CDN, CNAME, 200, EDGE),
    (EDGE, A, 60, ONE),
    (EDGE, A, 60, TWO),
)
LONGEST = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"b" * 61 + b"\0"


def parsed(template: Template) -> dns.message.Message:
    return dns.message.from_wire(ID + template[0])


def option(message: dns.message.Message) -> dns.edns.EDEOption:
    (found,) = message.options
    assert isinstance(found, dns.edns.EDEOption)
    return found


def test_render_chain_writes_each_name_once() -> None:
    template = render(asked(), flags=0x0100, rcode=0, records=CHAIN)
    at_cdn = 12 + len(asked()) + 12
    at_edge = at_cdn + len(CDN) + 12
    assert ID + template[0] == (
        b"\xbe\xef\x81\x80\0\1\0\4\0\0\0\0"
        + asked()
        + rr(AT_QUESTION, CNAME, CDN)
        + rr(bytes([0xC0, at_cdn]), CNAME, EDGE, ttl=200)
        + rr(bytes([0xC0, at_edge]), A, ONE, ttl=60)
        + rr(bytes([0xC0, at_edge]), A, TWO, ttl=60)
    )
    body, offsets = template
    assert [int.from_bytes(body[at : at + 4], "big") for at in offsets] == [300, 200, 60, 60]


def test_render_reads_back_as_the_same_records() -> None:
    soa_record = (ORG, SOA, 60, soa(60))
    template = render(
        asked(), flags=0x0100, rcode=3, records=CHAIN, authority=(soa_record,), edns=True, do=True
    )
    response = parse_response(ID + template[0], id=0xBEEF, name=DEB, qtype=A)
    assert (response.answer, response.authority, response.rcode) == (CHAIN, (soa_record,), 3)


def test_render_keeps_the_case_that_was_asked() -> None:
    mixed = asked(b"\x03dEb\x07ExAmPlE\x03ORG\x00")
    body = render(mixed, flags=0, rcode=0, records=CHAIN)[0]
    assert body[10 : 10 + len(mixed)] == mixed
    assert body[10 + len(mixed) :].startswith(AT_QUESTION)


@pytest.mark.parametrize(
    ("asked_flags", "flags"),
    [
        (0x0000, 0x8080),
        (0x0100, 0x8180),
        (0x0110, 0x8190),
        (0x0170, 0x8190),
        (0x2000, 0xA080),
        (0x07EF, 0x8180),
    ],
    ids=["none", "rd", "cd", "z-and-ad", "opcode", "junk"],
)
def test_render_echoes_only_opcode_rd_and_cd(asked_flags: int, flags: int) -> None:
    assert int.from_bytes(render(asked(), flags=asked_flags, rcode=0)[0][:2], "big") == flags


def test_render_without_readable_question_is_a_header() -> None:
    assert render(b"", flags=0x0100, rcode=1)[0] == b"\x81\x81" + bytes(8)


def test_render_without_edns_has_no_opt_and_no_ede() -> None:
    message = parsed(render(asked(), flags=0, rcode=3, ede=(15, "no rule lists it")))
    assert (message.edns, message.options) == (-1, ())


def test_render_with_edns_has_size_do_and_ede() -> None:
    message = parsed(render(asked(), flags=0, rcode=3, edns=True, do=True, ede=(15, "no rule lists it")))
    assert (message.edns, message.payload, message.ednsflags & dns.flags.DO) == (0, 1232, dns.flags.DO)
    assert (int(option(message).code), option(message).text) == (15, "no rule lists it")


def test_render_badvers_is_split_over_header_and_opt() -> None:
    template = render(asked(), flags=0, rcode=16, edns=True)
    assert parsed(template).rcode() == dns.rcode.BADVERS
    assert template[0][1] & 0xF == 0


@pytest.mark.parametrize("text", ["é" * 150, "x" + "é" * 150, "€" * 100, "\U0001f512" * 80, "\ud800bad"])
def test_render_long_or_odd_ede_text_is_cut_between_characters(text: str) -> None:
    shown = option(parsed(render(asked(), flags=0, rcode=3, edns=True, ede=(15, text)))).text
    assert shown is not None
    assert 0 < len(shown.encode()) <= EDE_TEXT_MAX
    assert text.replace("\ud800", "?").startswith(shown)


def test_render_that_just_fits_is_whole_and_one_byte_less_is_empty_with_tc() -> None:
    whole = render(asked(), flags=0x0100, rcode=0, records=CHAIN, edns=True)
    size = len(whole[0]) + 2
    assert render(asked(), flags=0x0100, rcode=0, records=CHAIN, edns=True, max_size=size) == whole
    cut = render(asked(), flags=0x0100, rcode=0, records=CHAIN, authority=CHAIN, edns=True, max_size=size - 1)
    message = parsed(cut)
    assert message.flags & dns.flags.TC
    assert (message.answer, message.authority, message.edns, cut[1]) == ([], [], 0, ())
    assert len(message.question) == 1


def test_render_drops_the_ede_before_the_answer() -> None:
    bare = render(asked(), flags=0, rcode=0, records=CHAIN, edns=True)
    tight = len(bare[0]) + 2
    assert (
        render(asked(), flags=0, rcode=0, records=CHAIN, edns=True, ede=(3, "stale"), max_size=tight) == bare
    )


def test_render_longest_truncated_reply_fits_512_bytes() -> None:
    many = tuple((LONGEST, A, 60, bytes([192, 0, 2, last])) for last in range(200))
    template = render(
        asked(LONGEST), flags=0, rcode=0, records=many, edns=True, ede=(0, "x" * 999), max_size=512
    )
    assert len(template[0]) + 2 <= 512
    assert parsed(template).flags & dns.flags.TC


def test_render_truncated_reply_to_a_plain_question_with_a_reason_has_no_opt_record() -> None:
    """Regression: ARCOUNT said 1 and no OPT followed, in stale answers over 512 bytes for plain clients."""
    many = tuple((DEB, A, 30, bytes([192, 0, 2, last])) for last in range(60))
    message = parsed(render(asked(), flags=0, rcode=0, records=many, ede=(3, "stale"), max_size=512))
    assert message.flags & dns.flags.TC
    assert message.edns == -1


def test_render_names_beyond_the_reach_of_a_pointer_are_written_out() -> None:
    far = [(b"\x05n%04d\x01x\0" % index, AAAA, 60, bytes(16)) for index in range(600)]
    records = [
        *far,
        (far[-1][0], AAAA, 60, b"\1" * 16),
        (DEB, CNAME, 60, EDGE),
        (EDGE, CNAME, 60, CDN),
    ]
    template = render(asked(), flags=0, rcode=0, records=records)
    response = parse_response(ID + template[0], id=0xBEEF, name=DEB, qtype=A)
    assert list(response.answer) == records


def test_render_cname_back_to_a_written_name_is_a_pointer() -> None:
    loop = ((DEB, CNAME, 60, CDN), (CDN, CNAME, 60, DEB))
    template = render(asked(), flags=0, rcode=0, records=loop)
    body, offsets = template
    assert body.endswith(b"\0\2\xc0\x0c")
    assert parse_response(ID + body, id=0xBEEF, name=DEB, qtype=A).answer == loop
    assert [body[at + 3] for at in offsets] == [60, 60]


# Ageing


@pytest.mark.parametrize("ttl_s", [0, 1, 59, 255, 256, 0x00FFFFFF, 0x7FFFFFFF])
@pytest.mark.parametrize("records", [CHAIN, CHAIN[-1:], ()], ids=["chain", "one", "none"])
def test_retold_is_the_reply_rendered_with_that_ttl(records: tuple[Record, ...], ttl_s: int) -> None:
    authority = ((ORG, SOA, 0x01000000, soa(60)),) if len(records) != 1 else ()

    def made(told: int | None) -> Template:
        return render(
            asked(), flags=0, rcode=0, records=records, authority=authority, ttl_s=told, edns=True, do=True
        )

    assert retold(made(None), ttl_s) == made(ttl_s)[0]
    response = parse_response(ID + made(ttl_s)[0], id=0xBEEF, name=DEB, qtype=A)
    assert [record[2] for record in response.answer + response.authority] == [ttl_s] * (
        len(records) + len(authority)
    )


def test_retold_reply_without_ttls_is_what_it_was() -> None:
    template = render(asked(), flags=0, rcode=5)
    assert retold(template, 60) == template[0]


# The question that goes upstream


def test_query_is_what_parse_question_reads() -> None:
    question = parse_question(build_query(0xBEEF, DEB, AAAA, CD | DO))
    assert (question.id, question.name, question.qtype, question.qclass) == (0xBEEF, DEB, AAAA, 1)
    assert (question.flags & (RD | CD), question.do, question.udp_size) == (RD | CD, True, 1232)


def test_query_plain_bytes() -> None:
    assert build_query(0xBEEF, DEB, A) == (
        b"\xbe\xef\1\0\0\1\0\0\0\0\0\1" + asked() + b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
    )
