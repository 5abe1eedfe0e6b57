"""Invariant 5: what the answer leads to from the question, and nothing else."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.errors import WireError
from dynallow.wire.chain import LINKS_MAX, Chain, _in_any_order, _in_order, negative, walk
from dynallow.wire.response import Record, Response
from tests.unit.wire.messages import AAAA, CDN, CNAME, DEB, EDGE, EVIL, NS, ONE, ORG, ROOT, SOA, TWO, A, soa


def cname(owner: bytes, target: bytes, ttl: int = 300) -> Record:
    return (owner, CNAME, ttl, target)


def address(owner: bytes, packed: bytes, ttl: int = 60) -> Record:
    return (owner, A, ttl, packed)


def answer(*records: Record, authority: tuple[Record, ...] = (), rcode: int = 0) -> Response:
    return Response(7, 0x8180, rcode, records, authority)


def steps(count: int) -> list[bytes]:
    return [b"\x03n%02d\0" % index for index in range(count)]


def test_walk_straight_answer_gives_the_addresses() -> None:
    final = (address(DEB, ONE), address(DEB, TWO))
    assert walk(answer(*final), DEB, A) == Chain((), final, DEB, 60)


def test_walk_records_in_any_order_give_the_same_chain() -> None:
    links = (cname(DEB, CDN), cname(CDN, EDGE))
    final = (address(EDGE, ONE),)
    for order in itertools.permutations(links + final):
        assert walk(answer(*order), DEB, A) == Chain(links, final, EDGE, 60)


@given(
    st.lists(
        st.tuples(
            st.sampled_from((DEB, CDN, EDGE)),
            st.sampled_from((A, CNAME)),
            st.integers(0, 3),
            st.sampled_from((DEB, CDN, EDGE, ONE, TWO)),
        ),
        max_size=6,
    )
)
def test_walk_quick_look_says_what_the_thorough_walk_says_or_nothing(records: list[Record]) -> None:
    answer = tuple(records)
    quick = _in_order(answer, DEB, A)
    if quick is not None:
        assert quick == _in_any_order(answer, DEB, A)


def test_walk_off_chain_records_grant_nothing() -> None:
    off = (address(EVIL, TWO), cname(EVIL, DEB), (DEB, 39, 300, EVIL), (EDGE, AAAA, 1, bytes(16)))
    chain = walk(answer(*off, cname(DEB, EDGE), address(EDGE, ONE)), DEB, A)
    assert chain == Chain((cname(DEB, EDGE),), (address(EDGE, ONE),), EDGE, 60)


def test_walk_off_chain_contradiction_is_ignored() -> None:
    chain = walk(answer(cname(EVIL, CDN), cname(EVIL, EDGE), address(DEB, ONE)), DEB, A)
    assert chain.final == (address(DEB, ONE),)


def test_walk_name_that_only_ends_alike_is_off_the_chain() -> None:
    near = b"\x06notdeb\x07example\x03org\0"
    assert walk(answer(address(near, ONE)), DEB, A) == Chain((), (), DEB, 0)


def test_walk_ttl_is_the_smallest_of_links_and_final() -> None:
    assert walk(answer(cname(DEB, CDN, 5), address(CDN, ONE, 60)), DEB, A).ttl == 5
    assert walk(answer(cname(DEB, CDN, 500), address(CDN, ONE, 0)), DEB, A).ttl == 0
    assert walk(answer(cname(DEB, CDN, 500)), DEB, A) == Chain((cname(DEB, CDN, 500),), (), CDN, 500)


def test_walk_rrset_with_different_ttls_takes_the_smallest() -> None:
    chain = walk(answer(address(DEB, ONE, 60), address(DEB, TWO, 7)), DEB, A)
    assert chain == Chain((), (address(DEB, ONE, 7), address(DEB, TWO, 7)), DEB, 7)


def test_walk_duplicate_addresses_collapse_in_order() -> None:
    chain = walk(answer(address(DEB, TWO), address(DEB, ONE), address(DEB, TWO)), DEB, A)
    assert chain.final == (address(DEB, TWO), address(DEB, ONE))


def test_walk_duplicate_cname_collapses_to_the_smaller_ttl() -> None:
    chain = walk(
        answer(cname(DEB, CDN, 9), cname(DEB, CDN, 3), cname(DEB, CDN, 5), address(CDN, ONE)), DEB, A
    )
    assert chain.links == (cname(DEB, CDN, 3),)


@pytest.mark.parametrize(
    "records",
    [
        (cname(DEB, DEB),),
        (cname(DEB, CDN), cname(CDN, DEB)),
        (cname(DEB, CDN), cname(CDN, EDGE), cname(EDGE, CDN), address(CDN, ONE)),
        (cname(DEB, CDN), cname(DEB, EDGE), address(CDN, ONE)),
        (cname(DEB, CDN), address(DEB, ONE)),
        (cname(DEB, CDN), cname(CDN, EDGE), address(CDN, ONE), address(EDGE, TWO)),
    ],
    ids=["self-loop", "loop", "loop-behind", "two-cnames", "cname-and-data", "cname-and-data-behind"],
)
def test_walk_contradiction_on_the_chain_is_refused(records: tuple[Record, ...]) -> None:
    with pytest.raises(WireError):
        walk(answer(*records), DEB, A)


def test_walk_eleven_links_pass_and_twelve_do_not() -> None:
    names = steps(LINKS_MAX + 2)
    links = [cname(owner, target) for owner, target in itertools.pairwise(names)]
    chain = walk(answer(*links[:LINKS_MAX], address(names[LINKS_MAX], ONE)), names[0], A)
    assert (len(chain.links), chain.end, len(chain.final)) == (11, names[11], 1)
    with pytest.raises(WireError):
        walk(answer(*links, address(names[-1], ONE)), names[0], A)


def test_walk_for_cname_does_not_follow() -> None:
    assert walk(answer(cname(DEB, CDN), cname(CDN, EDGE)), DEB, CNAME) == Chain(
        (), (cname(DEB, CDN),), DEB, 300
    )
    with pytest.raises(WireError):
        walk(answer(cname(DEB, CDN), cname(DEB, EDGE)), DEB, CNAME)


def test_walk_empty_answer_gives_an_empty_chain() -> None:
    assert walk(answer(), DEB, A) == Chain((), (), DEB, 0)


# Denials


def soa_record(owner: bytes, ttl: int = 3600, minimum: int = 60) -> Record:
    return (owner, SOA, ttl, soa(minimum))


@pytest.mark.parametrize(
    ("ttl", "minimum", "kept"), [(3600, 60, 60), (30, 60, 30), (0, 60, 0), (60, 2**32 - 1, 60)]
)
def test_negative_ttl_is_the_smaller_of_soa_ttl_and_minimum(ttl: int, minimum: int, kept: int) -> None:
    record = soa_record(ORG, ttl, minimum)
    assert negative(answer(authority=(record,)), DEB) == ((*record[:2], kept, record[3]), kept)


@pytest.mark.parametrize("owner", [DEB, ORG, b"\x03org\0", ROOT])
def test_negative_soa_at_or_above_the_name_is_taken(owner: bytes) -> None:
    assert negative(answer(authority=(soa_record(owner),)), DEB)[1] == 60


@pytest.mark.parametrize("owner", [CDN, b"\x01x" + DEB, b"\x07xample2\x03org\0", b"\x03com\0"])
def test_negative_soa_of_another_zone_is_dropped(owner: bytes) -> None:
    assert negative(answer(authority=(soa_record(owner),)), DEB) == (None, 0)


def test_negative_soa_whose_bytes_end_the_name_inside_a_label_is_dropped() -> None:
    inside = b"\x05x\x03com\0"
    assert inside.endswith(b"\x03com\0")
    assert negative(answer(authority=(soa_record(b"\x03com\0"),)), inside) == (None, 0)


def test_negative_without_soa_is_not_kept() -> None:
    assert negative(answer(authority=((ORG, NS, 300, DEB),)), DEB) == (None, 0)
