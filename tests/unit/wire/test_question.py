"""What clients may send, and which rcode answers what they may not (DESIGN section 10)."""

from __future__ import annotations

import struct

import pytest

from dynallow.wire.numbers import CD, RD
from dynallow.wire.question import Edns, Question, QuestionError, parse_question
from tests.unit.wire.messages import AT_QUESTION, DEB, NO_EDNS_OPTIONS, OPT, QUERY, A, asked, header, rr

FORMERR, NOTIMP = 1, 4


def query(
    section: bytes | None = None,
    *additional: bytes,
    flags: int = QUERY,
    qd: int = 1,
    an: int = 0,
    ns: int = 0,
) -> bytes:
    head = header(0xBEEF, flags, qd=qd, an=an, ns=ns, ar=len(additional))
    return head + (asked() if section is None else section) + b"".join(additional)


def refused(packet: bytes) -> QuestionError:
    with pytest.raises(QuestionError) as caught:
        parse_question(packet)
    return caught.value


def opt(options: bytes = b"", *, owner: bytes = b"\0", size: int = 1232, ttl: int = 0) -> bytes:
    return rr(owner, OPT, options, rclass=size, ttl=ttl)


def test_question_plain_gives_every_field() -> None:
    question = parse_question(query())
    assert question == Question(0xBEEF, QUERY, DEB, A, 1, asked(), None)
    assert (question.flags & (RD | CD), question.do, question.udp_size) == (RD, False, 512)


def test_question_mixed_case_lowers_name_and_keeps_section() -> None:
    mixed = b"\x03dEb\x07ExAmPlE\x03ORG\x00"
    question = parse_question(query(asked(mixed)))
    assert question.name == DEB
    assert question.section == asked(mixed)


def test_question_for_root_is_a_question() -> None:
    assert parse_question(query(asked(b"\0", 2))).name == b"\0"


def test_question_label_of_63_bytes_passes() -> None:
    name = b"\x3f" + b"a" * 63 + b"\0"
    assert parse_question(query(asked(name))).name == name


def test_question_length_byte_like_upper_case_letter_is_no_label() -> None:
    assert refused(query(b"\x41" + b"a" * 65 + b"\0\0\1\0\1")).rcode == FORMERR


def test_question_label_of_64_bytes_is_formerr() -> None:
    assert refused(query(b"\x40" + b"a" * 64 + b"\0\0\1\0\1")).rcode == FORMERR


def test_question_name_of_255_bytes_passes_and_256_is_formerr() -> None:
    long = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"b" * 61 + b"\0"
    assert len(long) == 255
    assert parse_question(query(asked(long))).name == long
    longer = (b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"b" * 62 + b"\0"
    assert refused(query(asked(longer))).rcode == FORMERR


@pytest.mark.parametrize("name", [b"\xc0\x0c", b"\x03deb\xc0\x0c", b"\x80\0", b"\x03deb\x40\0", b"\xff\0"])
def test_question_pointer_or_reserved_label_is_formerr(name: bytes) -> None:
    error = refused(query(asked(name)))
    assert (error.rcode, error.id, error.flags, error.section) == (FORMERR, 0xBEEF, QUERY, b"")


@pytest.mark.parametrize("size", range(12))
def test_question_shorter_than_a_header_is_met_with_silence(size: int) -> None:
    assert refused(query()[:size]).rcode is None


def test_question_that_is_a_response_is_met_with_silence() -> None:
    assert refused(query(flags=0x8100)).rcode is None


def test_question_that_is_a_response_with_another_opcode_is_met_with_silence() -> None:
    assert refused(query(flags=0xA000)).rcode is None


@pytest.mark.parametrize("opcode", range(1, 16))
def test_question_other_opcode_is_notimp(opcode: int) -> None:
    error = refused(query(flags=opcode << 11))
    assert (error.rcode, error.id, error.flags) == (NOTIMP, 0xBEEF, opcode << 11)


@pytest.mark.parametrize(("qd", "an", "ns"), [(0, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1), (65535, 0, 0)])
def test_question_wrong_counts_is_formerr(qd: int, an: int, ns: int) -> None:
    assert refused(query(qd=qd, an=an, ns=ns)).rcode == FORMERR


def test_question_two_questions_is_formerr() -> None:
    assert refused(query(asked() + asked(), qd=2)).rcode == FORMERR


@pytest.mark.parametrize("cut", range(12, len(query())))
def test_question_cut_short_is_formerr(cut: int) -> None:
    assert refused(query()[:cut]).rcode == FORMERR


def test_question_trailing_byte_is_formerr_and_section_is_known() -> None:
    error = refused(query() + b"\0")
    assert (error.rcode, error.section, error.edns) == (FORMERR, asked(), None)


def test_question_trailing_byte_after_opt_keeps_edns() -> None:
    error = refused(query(None, opt()) + b"\0")
    assert (error.rcode, error.edns) == (FORMERR, Edns(0, 1232, False))


def test_question_edns_gives_size_version_do_and_options() -> None:
    cookie = b"\0\x0a\0\x08" + b"8 bytes!"
    question = parse_question(query(None, opt(cookie + b"\xfd\xe9\0\0", size=4096, ttl=0x00058000)))
    assert question.edns is not None
    assert (question.edns.version, question.do, question.udp_size) == (5, True, 4096)
    assert question.edns.options == ((10, b"8 bytes!"), (65001, b""))


def test_question_edns_small_size_counts_as_512() -> None:
    assert parse_question(query(None, opt(size=0))).udp_size == 512


def test_question_minimal_opt_bytes_are_read() -> None:
    assert parse_question(query(None, NO_EDNS_OPTIONS)).edns == Edns(0, 1232, False)


@pytest.mark.parametrize(
    "additional",
    [
        (opt(), opt()),
        (opt(owner=DEB),),
        (opt(owner=AT_QUESTION),),
        (opt(b"\0"),),
        (opt(b"\0\x0a\0\x08" + b"7 bytes"),),
        (opt(b"\0\x0a\0\0\0"),),
        (rr(b"\0", OPT, b"", length=1),),
        (rr(b"\xc0\xff", 250, b""),),
    ],
    ids=[
        "two",
        "owner",
        "pointer-owner",
        "stub",
        "option-long",
        "option-rest",
        "rdlength",
        "forward-pointer",
    ],
)
def test_question_bad_additional_is_formerr_with_section(additional: tuple[bytes, ...]) -> None:
    error = refused(query(None, *additional))
    assert (error.rcode, error.section) == (FORMERR, asked())


def test_question_count_promises_more_than_there_is_is_formerr() -> None:
    packet = header(0xBEEF, QUERY, ar=2) + asked() + opt()
    assert refused(packet).rcode == FORMERR


def test_question_tsig_beside_opt_is_tolerated() -> None:
    tsig = rr(b"\x03key\0", 250, b"\x01a\0" + bytes(16), rclass=255)
    question = parse_question(query(None, opt(), tsig))
    assert question.edns is not None


def test_question_other_class_and_flags_are_left_to_the_resolver() -> None:
    question = parse_question(query(asked(qclass=3), flags=0x0170))
    assert (question.qclass, question.flags & CD) == (3, CD)
    assert struct.unpack(">H", query(flags=0x0170)[2:4]) == (question.flags,)
