"""What validators behind the road are told, and what others are: DO, CD, AD and signatures."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

import dns.flags
import dns.message
import dns.rcode
import pytest

from dynallow.lease.grant import Limits
from tests.unit.resolver.host import DEB, ONE, TWO, Host, addresses, ede, on_host, until
from tests.unit.resolver.nameserver import Nameserver
from tests.unit.resolver.responses import SOA
from tests.unit.resolver.validating import (
    AD,
    CD,
    DENIED,
    DO,
    NSEC,
    SIGNED,
    ZONE,
    ask,
    hot,
    is_vouched_for,
    on,
    rrsig,
    says,
    types,
)

# ---------------------------------------------------------------- DO


def test_walk_without_the_setting_asks_for_no_signatures_whatever_a_client_sets() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        reply = await ask(host, DO | CD | AD)
        (asked,) = server.asked
        assert (asked.ednsflags & DO, asked.flags & CD) == (0, 0)
        assert (types(reply), reply.ednsflags & DO, reply.flags & CD, is_vouched_for(reply)) == (
            ["A"], DO, CD, False,
        )  # fmt: skip
        await ask(host, 0)
        assert len(server.asked) == 1

    on_host(work, says(*SIGNED))


def test_walk_signatures_reach_those_who_set_do_with_one_query_for_all() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        on(host)
        for flags, expected in ((0, ["A"]), (DO, ["A", "RRSIG"]), (AD, ["A"]), (DO, ["A", "RRSIG"])):
            reply = await ask(host, flags)
            assert (types(reply), addresses(reply), reply.ednsflags & DO) == (
                expected,
                {ONE, TWO},
                flags & DO,
            )
            again = hot(host, flags)
            assert again is not None
            assert types(again) == expected
        (asked,) = server.asked
        assert (asked.ednsflags & DO, asked.flags & CD) == (DO, 0)
        assert [grant.addresses for call in host.gate.calls for grant in call] == [(ONE, TWO)]

    on_host(work, says(*SIGNED))


def test_walk_denial_of_existence_comes_with_its_proof_for_those_who_set_do() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        on(host)
        for _ in range(2):
            reply = await ask(host, DO, "b.absent.example.org")
            assert (reply.rcode(), types(reply)) == (dns.rcode.NXDOMAIN, ["SOA", "NSEC", "RRSIG", "RRSIG"])
            assert is_vouched_for(reply)
            assert {one.ttl for one in reply.authority} == {120}
        assert types(await ask(host, 0, "b.absent.example.org")) == ["SOA"]
        assert len(server.asked) == 1

    on_host(work, says(authority=DENIED, rcode="NXDOMAIN"), ZONE)


def test_walk_wildcard_answer_comes_with_the_proof_that_nothing_is_nearer() -> None:
    name = "y.wild.example.org"
    lines = (f"{name} 300 IN A 192.0.2.1", rrsig(name, "A"))

    async def work(host: Host, server: Nameserver) -> None:
        on(host)
        reply = await ask(host, DO, name)
        assert types(reply) == ["A", "RRSIG", "NSEC", "RRSIG"]
        assert {one.ttl for one in (*reply.answer, *reply.authority)} == {120}, (
            "the proof's, which ends first"
        )

    on_host(work, says(*lines, authority=DENIED[2:]), ZONE)


def test_walk_proof_that_is_not_signed_is_left_out() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        on(host)
        assert types(await ask(host, DO, "b.absent.example.org")) == ["SOA"]

    on_host(
        work, says(authority=(SOA, NSEC, "example.org 300 IN NS ns.example.org."), rcode="NXDOMAIN"), ZONE
    )


def test_walk_signed_reply_that_does_not_fit_is_truncated_and_vouches_for_nothing() -> None:
    many = (f"{DEB} 300 IN A " + " | ".join(f"192.0.2.{n}" for n in range(1, 90)), rrsig(DEB, "A"))

    async def work(host: Host, server: Nameserver) -> None:
        on(host)
        reply = await ask(host, DO)
        assert (bool(reply.flags & dns.flags.TC), types(reply), is_vouched_for(reply)) == (True, [], False)
        whole = await ask(host, DO, udp=False)
        assert (types(whole), is_vouched_for(whole)) == (["A", "RRSIG"], True)

    on_host(work, says(*many))


# ---------------------------------------------------------------- CD


def unchecked(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
    """A validating server: what is bogus it tells those alone who set CD."""
    if query.flags & CD:
        return says(f"{DEB} 300 IN A 192.0.2.2", rrsig(DEB, "A"), flags=0)(query, tcp)
    return says(f"{DEB} 300 IN A 192.0.2.1", rrsig(DEB, "A"))(query, tcp)


@pytest.mark.parametrize("order", [(CD, 0), (CD | DO, DO)])
def test_walk_answer_with_cd_reaches_nobody_who_did_not_set_it(order: tuple[int, int]) -> None:
    async def work(host: Host, server: Nameserver) -> None:
        on(host)
        for flags in (*order, *order):
            reply = await ask(host, flags)
            assert addresses(reply) == ({TWO} if flags & CD else {ONE})
            assert reply.flags & CD == flags & CD
            again = hot(host, flags)
            assert again is not None
            assert addresses(again) == addresses(reply)
        assert sorted(query.flags & CD for query in server.asked) == [0, CD]

    on_host(work, unchecked)


def test_walk_answer_without_cd_does_for_those_who_set_it() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        on(host)
        for flags in (DO, DO | CD, CD, 0):
            reply = await ask(host, flags)
            assert (addresses(reply), reply.flags & CD) == ({ONE}, flags & CD)
        assert len(server.asked) == 1
        host.pass_time(280)  # in use, and about to lapse: it is that one which is asked for anew
        await ask(host, DO | CD)
        await until(lambda: len(server.asked) == 2)
        assert [query.flags & CD for query in server.asked] == [0, 0]

    on_host(work, unchecked)


def test_walk_questions_with_and_without_cd_do_not_wait_for_one_answer() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        on(host)
        server.release = asyncio.Event()
        asking = [asyncio.ensure_future(ask(host, flags)) for flags in (0, CD, DO, CD | DO)]
        await until(lambda: len(server.asked) == 2)
        server.release.set()
        assert [addresses(reply) for reply in await asyncio.gather(*asking)] == [{ONE}, {TWO}] * 2
        assert len(server.asked) == 2

    on_host(work, unchecked)


def test_walk_stale_answer_without_cd_does_for_those_who_set_it() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        on(host)
        assert addresses(await ask(host, DO)) == {ONE}
        server.handler = says(rcode="SERVFAIL")
        host.pass_time(301)
        reply = await ask(host, DO | CD)
        assert (addresses(reply), reply.flags & CD, is_vouched_for(reply)) == ({ONE}, CD, False)

    on_host(work, unchecked)


def test_walk_stale_answer_with_cd_reaches_nobody_who_did_not_set_it() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        on(host)
        assert addresses(await ask(host, CD)) == {TWO}
        server.handler = says(rcode="SERVFAIL")
        host.pass_time(301)
        assert addresses(await ask(host, CD)) == {TWO}
        reply = await ask(host, 0)
        assert (reply.rcode(), reply.answer) == (dns.rcode.SERVFAIL, [])

    on_host(work, unchecked)


# ---------------------------------------------------------------- AD


@pytest.mark.parametrize(
    ("authentic", "upstream", "client", "expected"),
    [
        (True, AD, DO, True),
        (True, AD, AD, True),
        (True, AD, DO | CD, True),
        (True, AD, 0, False),  # RFC 6840 section 5.8: he would make nothing of it
        (True, 0, DO | AD, False),
        (False, AD, DO | AD, False),
    ],
)
def test_walk_ad_is_told_to_who_wants_it_when_a_server_says_so_that_is_no_forger(
    authentic: bool, upstream: int, client: int, expected: bool
) -> None:
    async def work(host: Host, server: Nameserver) -> None:
        on(host, authentic=authentic)
        for _ in range(2):
            assert is_vouched_for(await ask(host, client)) == expected
            again = hot(host, client)
            assert again is not None
            assert is_vouched_for(again) == expected

    on_host(work, says(*SIGNED, flags=upstream))


def test_walk_stale_answer_is_signed_and_not_vouched_for() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        on(host)
        assert is_vouched_for(await ask(host))
        server.handler = says(rcode="SERVFAIL")
        host.pass_time(301)
        reply = await ask(host)
        assert (types(reply), is_vouched_for(reply), ede(reply)) == (["A", "RRSIG"], False, 3)

    on_host(work, says(*SIGNED))


@pytest.mark.parametrize(
    ("lines", "qtype", "expected"),
    [
        ([f"{DEB} 300 IN A 192.0.2.1 | 10.0.0.1", rrsig(DEB, "A")], "A", ["A"]),
        ([f"{DEB} 300 IN A 10.0.0.1", rrsig(DEB, "A")], "A", []),
        ([f"{DEB} 300 IN HTTPS 1 . alpn=h2 ech=AAT+DQAA", rrsig(DEB, "HTTPS")], "HTTPS", ["HTTPS"]),
        ([f"{DEB} 300 IN HTTPS 1 . alpn=h2", rrsig(DEB, "HTTPS")], "HTTPS", ["HTTPS", "RRSIG"]),
    ],
)
def test_walk_altered_set_has_no_signature_and_is_not_vouched_for(
    lines: list[str], qtype: str, expected: list[str]
) -> None:
    async def work(host: Host, server: Nameserver) -> None:
        on(host)
        reply = await ask(host, DO, qtype=qtype)
        assert (types(reply), is_vouched_for(reply)) == (expected, "RRSIG" in expected)

    on_host(work, says(*lines))


def test_walk_set_that_lost_an_address_to_a_budget_or_a_cap_has_no_signature() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        on(host)
        host.gate.refuse = frozenset({ONE})
        for _ in range(2):
            reply = await ask(host)
            assert (types(reply), addresses(reply), is_vouched_for(reply)) == (["A"], {TWO}, False)
        host.gate.refuse = frozenset()
        host.road.terms = replace(host.road.terms, limits=Limits(max_addresses_per_name=1))
        host.road.forget()
        reply = await ask(host)
        assert (types(reply), is_vouched_for(reply)) == (["A"], False)

    on_host(work, says(*SIGNED))


def test_walk_own_denials_are_never_vouched_for() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        on(host)
        for name, qtype in (("other.example.net", "A"), (DEB, "TXT"), ("localhost", "A"), (DEB, "ANY")):
            reply = await ask(host, DO | AD, name, qtype)
            assert (is_vouched_for(reply), reply.ednsflags & DO) == (False, DO)
        assert not server.asked

    on_host(work, says(*SIGNED))
