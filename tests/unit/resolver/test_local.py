"""Replies made here, read back by dnspython."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest

from dynallow.errors import UpstreamError
from dynallow.policy.verdict import Outcome, Verdict
from dynallow.resolver import local
from dynallow.wire.question import QuestionError, parse_question

NAME = "Evil.Example.COM"


def query(
    qtype: str = "A", qclass: str = "IN", *, edns: int | bool = 0, **more: object
) -> dns.message.Message:
    return dns.message.make_query(NAME, qtype, qclass, use_edns=edns, id=0xBEEF, **more)  # type: ignore[arg-type]


def refused(asked: dns.message.Message) -> dns.message.Message | None:
    reply = local.refusal(parse_question(asked.to_wire()))
    return None if reply is None else dns.message.from_wire(reply)


def malformed(packet: bytes) -> bytes | None:
    with pytest.raises(QuestionError) as caught:
        parse_question(packet)
    return local.malformed(caught.value)


def denied(
    verdict: Verdict, asked: dns.message.Message | None = None, how: str = "nxdomain", size: int = 1232
) -> dns.message.Message:
    packet = (asked or query()).to_wire()
    body = local.denial(parse_question(packet), verdict, how, size)  # type: ignore[arg-type]
    return dns.message.from_wire(packet[:2] + body)


def explained(message: dns.message.Message) -> tuple[int, str | None]:
    (option,) = message.options
    assert isinstance(option, dns.edns.EDEOption)
    return int(option.code), option.text


def assert_echoed(reply: dns.message.Message) -> None:
    assert reply.id == 0xBEEF
    assert reply.question[0].name.to_text() == f"{NAME}."
    assert reply.flags & dns.flags.QR
    assert reply.flags & dns.flags.RA
    assert reply.flags & dns.flags.RD
    assert not reply.flags & dns.flags.AA


# ---------------------------------------------------------------- refusals, errors


@pytest.mark.parametrize("qtype", ["ANY", "AXFR", "IXFR", "TKEY", "TSIG", "OPT"])
def test_refusal_of_types_that_hold_no_data_is_refused(qtype: str) -> None:
    reply = refused(query(qtype))
    assert reply is not None
    assert reply.rcode() == dns.rcode.REFUSED
    assert_echoed(reply)
    assert not reply.answer


@pytest.mark.parametrize("qclass", ["CH", "HS", "ANY"])
def test_refusal_of_another_class_is_refused(qclass: str) -> None:
    reply = refused(query("TXT", qclass))
    assert reply is not None
    assert reply.rcode() == dns.rcode.REFUSED


def test_refusal_of_another_edns_version_is_badvers() -> None:
    asked = query(edns=0)
    asked.use_edns(1)
    reply = refused(asked)
    assert reply is not None
    assert (reply.rcode(), reply.edns) == (dns.rcode.BADVERS, 0)
    assert_echoed(reply)


@pytest.mark.parametrize("qtype", ["A", "AAAA", "HTTPS", "TXT", "SRV", "DS"])
def test_refusal_of_ordinary_questions_is_none(qtype: str) -> None:
    assert refused(query(qtype)) is None


@pytest.mark.parametrize("edns", [False, 0])
def test_error_has_an_opt_record_exactly_when_it_was_asked_with_one(edns: int | bool) -> None:
    question = parse_question(query(edns=edns).to_wire())
    reply = dns.message.from_wire(
        local.error(question.id, question.flags, 2, question.section, question.edns)
    )
    assert reply.edns == (0 if edns is not False else -1)
    assert reply.rcode() == dns.rcode.SERVFAIL
    assert_echoed(reply)


def test_error_keeps_the_clients_do_bit() -> None:
    question = parse_question(query(want_dnssec=True).to_wire())
    reply = dns.message.from_wire(
        local.error(question.id, question.flags, 2, question.section, question.edns)
    )
    assert reply.ednsflags & dns.flags.DO


def test_malformed_trailing_bytes_are_formerr_with_the_question() -> None:
    reply = malformed(query().to_wire() + b"\0")
    assert reply is not None
    message = dns.message.from_wire(reply)
    assert message.rcode() == dns.rcode.FORMERR
    assert_echoed(message)


def test_malformed_two_questions_are_formerr_without_any() -> None:
    packet = bytearray(query(edns=False).to_wire())
    packet[5] = 2
    reply = malformed(bytes(packet))
    assert reply is not None
    message = dns.message.from_wire(reply)
    assert (message.rcode(), message.question, message.id) == (dns.rcode.FORMERR, [], 0xBEEF)


def test_malformed_other_opcode_is_notimp() -> None:
    asked = query()
    asked.set_opcode(dns.opcode.NOTIFY)
    reply = malformed(asked.to_wire())
    assert reply is not None
    message = dns.message.from_wire(reply)
    assert (message.rcode(), message.opcode()) == (dns.rcode.NOTIMP, dns.opcode.NOTIFY)


@pytest.mark.parametrize("packet", [b"", b"\0" * 11, b"\xbe\xef\x80\0" + b"\0" * 8])
def test_malformed_shorter_than_a_header_or_a_response_is_silence(packet: bytes) -> None:
    assert malformed(packet) is None


# ---------------------------------------------------------------- denials


def test_denial_is_nxdomain_with_a_short_soa_and_the_reason() -> None:
    message = denied(Verdict(Outcome.DENIED, reason="no rule allows evil.example.com"))
    assert message.rcode() == dns.rcode.NXDOMAIN
    assert_echoed(message)
    assert not message.answer
    (soa,) = message.authority
    assert soa.rdtype == dns.rdatatype.SOA
    assert soa.name.to_text().lower() == "evil.example.com."
    assert (soa.ttl, soa[0].minimum) == (local.DENIAL_TTL_S, local.DENIAL_TTL_S)
    assert soa[0].mname.to_text() == "dynallow.invalid."
    assert explained(message) == (15, "no rule allows evil.example.com")


def test_denial_above_an_allowed_name_is_nodata() -> None:
    message = denied(Verdict(Outcome.DENIED, reason="no", names_below=True))
    assert message.rcode() == dns.rcode.NOERROR
    assert len(message.authority) == 1
    assert explained(message) == (15, "no")


def test_denial_of_a_filtered_type_is_nodata_whatever_the_setting() -> None:
    for how in ("nxdomain", "refused"):
        message = denied(Verdict(Outcome.FILTERED, reason="no TXT"), how=how)
        assert message.rcode() == dns.rcode.NOERROR
        assert [rrset.rdtype for rrset in message.authority] == [dns.rdatatype.SOA]
        assert explained(message) == (17, "no TXT")


def test_denial_refused_has_no_soa() -> None:
    message = denied(Verdict(Outcome.DENIED, reason="no"), how="refused")
    assert (message.rcode(), message.authority) == (dns.rcode.REFUSED, [])
    assert explained(message)[0] == 15


def test_denial_without_edns_has_no_opt_record() -> None:
    message = denied(Verdict(Outcome.DENIED, reason="no"), query(edns=False))
    assert (message.edns, message.rcode()) == (-1, dns.rcode.NXDOMAIN)


def test_denial_of_the_longest_name_and_reason_fits_plain_udp() -> None:
    asked = dns.message.make_query(".".join(["x" * 63] * 3 + ["y" * 61]), "A", use_edns=0)
    message = denied(Verdict(Outcome.DENIED, reason="é" * 400), asked, size=512)
    assert message.rcode() == dns.rcode.NXDOMAIN
    assert not message.flags & dns.flags.TC


def test_servfail_tells_why() -> None:
    packet = query().to_wire()
    template = local.servfail(parse_question(packet), UpstreamError("nobody answers", reached=True), 1232)
    message = dns.message.from_wire(packet[:2] + template[0])
    assert message.rcode() == dns.rcode.SERVFAIL
    assert explained(message) == (22, "nobody answers")
    assert_echoed(message)
