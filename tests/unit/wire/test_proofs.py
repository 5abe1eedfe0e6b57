"""Signatures and proofs of absence: what is read, what is refused, and how much work they can be."""

from __future__ import annotations

import pytest

from dynallow.errors import WireError
from dynallow.wire.response import Record, Response, parse_response
from dynallow.wire.signatures import PROOFS_MAX, Proof, prove, unsigned
from tests.unit.wire.messages import DEB, ONE, ORG, TWO, A, reply, rr

RRSIG, NSEC, NSEC3, SOA, AD = 46, 47, 50, 6, 0x0020
NEXT = b"\x03Zed\x07Example\x03org\0"
BITMAP = b"\0\x06\x40\0\0\0\0\x03\x01\x04\0\0\0\x08"


def signature(covered: int = A, labels: int = 3, signer: bytes = ORG, rest: bytes = b"signed") -> bytes:
    return covered.to_bytes(2, "big") + bytes((13, labels)) + bytes(14) + signer + rest


def read(packet: bytes) -> Response:
    return parse_response(packet, id=7, name=DEB, qtype=A)


def test_response_proofs_are_kept_byte_for_byte() -> None:
    upper = signature(signer=b"\x07Example\x03ORG\0")
    nsec3 = b"\1\0\0\0\2ab\3abc" + BITMAP
    packet = reply(rr(DEB, RRSIG, upper), rr(DEB, NSEC, NEXT + BITMAP), rr(DEB, NSEC3, nsec3))
    assert [record[3] for record in read(packet).answer] == [upper, NEXT + BITMAP, nsec3]


@pytest.mark.parametrize(
    "rdata",
    [
        b"",
        signature()[:17],
        signature(signer=b"", rest=b""),
        signature(rest=b""),  # no signature behind the name
        signature(signer=b"\xc0\x0c"),  # must not be compressed
        signature(signer=b"\x03org"),
        signature(signer=(b"\x3f" + b"x" * 63) * 4 + b"\0"),
    ],
)
def test_response_signature_without_a_plain_signer_is_refused(rdata: bytes) -> None:
    with pytest.raises(WireError):
        read(reply(rr(DEB, RRSIG, rdata)))


@pytest.mark.parametrize(
    "rdata",
    [
        b"",
        NEXT,
        b"\xc0\x0c" + BITMAP,
        NEXT + BITMAP[:-1],
        NEXT + BITMAP + b"\0",
        NEXT + b"\0\0",  # an empty window
        NEXT + b"\0\2\x40\0",  # a trailing zero octet
        NEXT + b"\0\x21" + bytes(33),
        NEXT + BITMAP + BITMAP,  # windows ascend
    ],
)
def test_response_nsec_that_does_not_fill_its_record_is_refused(rdata: bytes) -> None:
    with pytest.raises(WireError):
        read(reply(rr(DEB, NSEC, rdata)))


@pytest.mark.parametrize(
    "rdata", [b"", b"\1\0\0\0", b"\1\0\0\0\xff", b"\1\0\0\0\0\x20abc", b"\1\0\0\0\0\3abc\0\0"]
)
def test_response_nsec3_that_does_not_fill_its_record_is_refused(rdata: bytes) -> None:
    with pytest.raises(WireError):
        read(reply(rr(DEB, NSEC3, rdata)))


# What belongs to an answer


def response(*answer: Record, authority: tuple[Record, ...] = (), flags: int = 0x8180 | AD) -> Response:
    return Response(7, flags, 0, answer, authority)


ADDRESS, OTHER = (DEB, A, 300, ONE), (DEB, A, 300, TWO)
SIGNED = (DEB, RRSIG, 300, signature())


def test_prove_set_that_is_told_whole_has_its_signature_and_is_vouched_for() -> None:
    proof = prove(response(ADDRESS, OTHER, SIGNED), DEB, A, (OTHER, ADDRESS), ())
    assert proof == Proof((), (SIGNED,), (), 300, True)
    assert not prove(response(ADDRESS, SIGNED, flags=0x8180), DEB, A, (ADDRESS,), ()).secure


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((ADDRESS, OTHER), (ADDRESS,)),
        ((ADDRESS,), (ADDRESS, OTHER)),
        ((ADDRESS,), (OTHER,)),
        ((ADDRESS,), ()),
    ],
)
def test_prove_set_that_is_told_otherwise_has_none(
    given: tuple[Record, ...], told: tuple[Record, ...]
) -> None:
    assert prove(response(*given, SIGNED), DEB, A, told, ()) == Proof()


@pytest.mark.parametrize(
    "rdata",
    [
        signature(covered=28),
        signature(labels=4),
        signature(signer=b"\3net\0"),
        signature(signer=b"\1x" + DEB),
    ],
)
def test_prove_signature_that_cannot_be_the_sets_is_left_out(rdata: bytes) -> None:
    proof = prove(response(ADDRESS, (DEB, RRSIG, 300, rdata)), DEB, A, (ADDRESS,), ())
    assert (proof.records, proof.secure) == ((), True)


def test_prove_signature_of_a_parent_or_the_root_may_be_the_sets() -> None:
    for signer in (DEB, ORG, b"\3org\0", b"\0", ORG.upper()):
        record = (DEB, RRSIG, 300, signature(signer=signer))
        assert prove(response(ADDRESS, record), DEB, A, (ADDRESS,), ()).records == (record,)


def test_prove_denial_without_its_soa_is_not_vouched_for() -> None:
    soa = (ORG, SOA, 300, b"\0\0" + bytes(20))
    assert prove(response(authority=(soa,)), DEB, A, (), (soa,)).secure
    assert not prove(response(authority=(soa,)), DEB, A, (), ()).secure


def test_prove_too_many_proofs_are_none_at_all() -> None:
    many = tuple((DEB, RRSIG, 300, signature(rest=bytes((number, 1)))) for number in range(PROOFS_MAX + 1))
    assert len(prove(response(ADDRESS, *many[1:]), DEB, A, (ADDRESS,), ()).records) == PROOFS_MAX
    assert prove(response(ADDRESS, *many), DEB, A, (ADDRESS,), ()) == Proof()
    assert prove(response(ADDRESS, authority=many), DEB, A, (ADDRESS,), ()) == Proof()
    flood = tuple((ORG, RRSIG, 300, signature(rest=bytes((n >> 8, n & 255)))) for n in range(2000))
    assert prove(response(ADDRESS, SIGNED, *flood), DEB, A, (ADDRESS,), ()) == Proof()


def test_unsigned_takes_the_signatures_of_the_changed_set_alone() -> None:
    cname = (DEB, RRSIG, 300, signature(covered=5))
    proof = unsigned(Proof((), (cname, SIGNED), (), 300, True), A)
    assert (proof.records, proof.secure) == ((cname,), False)
