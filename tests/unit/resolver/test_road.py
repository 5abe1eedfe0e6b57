"""The road of a question: the kernel first, the cache, what fails. Read beside `road.py`."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable
from ipaddress import ip_network

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from dynallow.errors import KernelError
from dynallow.lease.grant import Grant
from dynallow.policy.names import parse_name
from dynallow.policy.patterns import parse_pattern
from dynallow.policy.policy import PolicyBuilder
from dynallow.resolver import road as road_module
from tests.lab.waiting import in_time
from tests.unit.resolver.host import (
    DEB,
    ONE,
    TWO,
    Host,
    addresses,
    ede,
    on_host,
    policy,
    question,
    until,
)
from tests.unit.resolver.nameserver import Nameserver, answer, silent, zone
from tests.unit.resolver.responses import records

# ---------------------------------------------------------------- kernel first (invariant 1)


def test_walk_reply_leaves_only_after_the_kernel_has_acknowledged() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        host.gate.open = asyncio.Event()
        asking = asyncio.ensure_future(host.ask())
        await until(lambda: host.gate.calls)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not asking.done()
        host.gate.open.set()
        reply = await asking
        assert addresses(reply) == {ONE, TWO}
        assert host.gate.calls == [[Grant("web", (ONE, TWO), 300, parse_name(DEB), None)]]

    on_host(work)


def test_walk_second_question_meanwhile_waits_for_the_same_acknowledgement() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        host.gate.open = asyncio.Event()
        first = asyncio.ensure_future(host.ask())
        await until(lambda: host.gate.calls)
        second = asyncio.ensure_future(host.ask(id=8))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not second.done()
        host.gate.open.set()
        assert addresses(await first) == addresses(await second) == {ONE, TWO}
        assert (len(host.gate.calls), len(server.asked), host.road.counts.joined) == (1, 1, 1)

    on_host(work)


def test_walk_every_rule_that_lists_the_name_gets_the_grant() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask()
        (asked,) = host.gate.calls
        assert {(grant.rule, grant.addresses) for grant in asked} == {
            ("web", (ONE, TWO)),
            ("apt", (ONE, TWO)),
        }

    on_host(work, allowed=policy(web=DEB, apt="*.example.org", other="other.example.org"))


def test_walk_kernel_that_refuses_is_servfail_and_nothing_is_kept() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        host.gate.error = KernelError("no")
        reply = await host.ask()
        assert (reply.rcode(), reply.answer, ede(reply)) == (dns.rcode.SERVFAIL, [], 0)
        assert (len(host.road.cache), len(host.road.hot)) == (0, 0)
        host.gate.error = None
        assert addresses(await host.ask()) == {ONE, TWO}
        assert host.tasks.failed == 0

    on_host(work)


def test_walk_refused_address_is_left_out_also_from_cache_and_hot_replies() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        host.gate.refuse = frozenset({ONE})
        for _ in range(2):
            assert addresses(await host.ask()) == {TWO}
        assert len(server.asked) == 1
        (hot,) = host.road.hot.find([question()[2:]], host.now)
        assert hot is not None
        assert addresses(dns.message.from_wire(question()[:2] + hot)) == {TWO}
        assert host.road.counts.trimmed == 1

    on_host(work)


def test_walk_every_address_refused_is_servfail() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        host.gate.refuse = frozenset({ONE, TWO})
        reply = await host.ask()
        assert (reply.rcode(), reply.answer) == (dns.rcode.SERVFAIL, [])
        assert len(host.road.cache) == 0

    on_host(work)


def test_walk_thousand_at_once_cost_one_query_and_one_transaction() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        host.road.upstreams.timeout_s = 2.0  # a slow machine takes 0.2 s for the thousand alone
        packets = [question(id=number) for number in range(1000)]
        given = await asyncio.gather(*(host.road.walk(packet, udp=True) for packet in packets))
        replies = [dns.message.from_wire(reply) for reply in given if reply is not None]
        assert [reply.id for reply in replies] == list(range(1000))
        assert all(addresses(reply) == {ONE, TWO} for reply in replies)
        assert (len(server.asked), len(host.gate.calls)) == (1, 1)
        assert host.road.counts.fresh == 1

    on_host(work)


def test_walk_client_that_goes_away_does_not_take_the_answer_with_him() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        host.gate.open = asyncio.Event()
        first, second = (asyncio.ensure_future(host.ask(id=number)) for number in (1, 2))
        await until(lambda: host.gate.calls)
        first.cancel()
        await asyncio.sleep(0)
        host.gate.open.set()
        assert addresses(await second) == {ONE, TWO}

    on_host(work)


def test_walk_more_wait_than_may_is_servfail_while_denied_and_cached_are_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(road_module, "MAX_WAITING", 2)

    async def work(host: Host, server: Nameserver) -> None:
        await host.ask("cached.example.org")
        host.gate.open = asyncio.Event()
        waiting = [asyncio.ensure_future(host.ask(name)) for name in ("a.example.org", "b.example.org")]
        await until(lambda: len(host.gate.calls) == 3)
        reply = await host.ask("c.example.org")
        assert (reply.rcode(), host.road.counts.overload) == (dns.rcode.SERVFAIL, 1)
        assert addresses(await host.ask("cached.example.org")) == {ONE}
        assert (await host.ask("denied.example.net")).rcode() == dns.rcode.NXDOMAIN
        host.gate.open.set()
        assert [addresses(reply) for reply in await asyncio.gather(*waiting)] == [{ONE}, {ONE}]
        assert addresses(await host.ask("c.example.org")) == {ONE}

    names = ("a", "b", "c", "cached")
    one_each = zone(*(f"{name}.example.org 300 IN A 192.0.2.1" for name in names))
    on_host(work, one_each, allowed=policy(web="*.example.org"))


# ---------------------------------------------------------------- cache, hot replies


def test_walk_cached_answer_is_told_with_the_time_left() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        assert (await host.ask()).answer[0].ttl == 300
        host.pass_time(100.5)
        assert (await host.ask(udp=False)).answer[0].ttl == 199
        assert (len(server.asked), len(host.gate.calls), host.road.counts.cached) == (1, 1, 1)
        host.pass_time(200.0)
        assert (await host.ask()).answer[0].ttl == 300
        assert len(server.asked) == 2

    on_host(work)


def test_walk_chain_tells_the_smallest_ttl_for_every_record() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        for passed, left in ((0.0, 40), (10.5, 29)):
            host.pass_time(passed)
            reply = await host.ask()
            assert [(rrset.ttl, len(rrset)) for rrset in reply.answer] == [(left, 1), (left, 2)]
        (hot,) = host.road.hot.find([question()[2:]], host.now + 5.0)
        assert hot is not None
        assert {rrset.ttl for rrset in dns.message.from_wire(question()[:2] + hot).answer} == {24}

    def chain(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
        lines = (f"{DEB} 300 IN CNAME cdn.example.net.", "cdn.example.net 40 IN A 192.0.2.1 | 192.0.2.2")
        return [answer(query, records(*lines))]

    on_host(work, chain)


def test_walk_udp_reply_is_kept_hot_and_tcp_is_not() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask(udp=False)
        assert len(host.road.hot) == 0
        await host.ask()
        (hot,) = host.road.hot.find([question(id=99)[2:]], host.now + 10.0)
        assert hot is not None
        message = dns.message.from_wire(b"\0\x63" + hot)
        assert (message.answer[0].ttl, addresses(message)) == (290, {ONE, TWO})
        host.road.forget()
        assert host.road.hot.find([question()[2:]], host.now) == [None]
        assert host.road.cache.fresh((parse_name(DEB), 1, 0, ()), host.now) is None
        assert host.road.cache.stale((parse_name(DEB), 1, 0, ()), host.now) is None

    on_host(work)


def test_walk_question_with_another_record_behind_it_is_answered_and_not_kept() -> None:
    """It would be kept under a key of as many bytes as the stranger likes, and never be found again."""

    async def work(host: Host, server: Nameserver) -> None:
        junk = b"\0" + struct.pack(">HHIH", 65280, 1, 0, 1000) + bytes(1000)
        for name in (DEB, "denied.example.net"):
            packet = question(name, edns=False)
            packet = packet[:10] + b"\0\1" + packet[12:] + junk
            assert await host.road.walk(packet, udp=True) is not None
        assert (len(host.road.hot), len(host.road.denials)) == (0, 0)

    on_host(work)


def test_walk_question_with_a_cookie_is_answered_and_not_kept_hot() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        packet = question(options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")])
        assert await host.road.walk(packet, udp=True) is not None
        assert len(host.road.hot) == 0

    on_host(work)


def test_walk_denials_and_failures_are_not_kept_hot() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask("notexample.org")
        await host.ask()
        assert len(host.road.hot) == 0

    on_host(work, silent)


def test_walk_with_cache_size_zero_still_answers() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        for _ in range(2):
            assert addresses(await host.ask()) == {ONE, TWO}
        assert len(server.asked) == 2

    on_host(work, size=0)


def test_walk_ttl_zero_is_told_and_not_kept() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        for _ in range(2):
            reply = await host.ask()
            assert (reply.answer[0].ttl, addresses(reply)) == (0, {ONE})
        assert (len(server.asked), len(host.gate.calls)) == (2, 2)
        assert (len(host.road.cache), len(host.road.hot)) == (0, 0)

    on_host(work, zone(f"{DEB} 0 IN A 192.0.2.1"))


# ---------------------------------------------------------------- upstreams that fail


def test_walk_upstream_gone_answers_from_expired_data_for_thirty_seconds() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask()
        host.pass_time(400.0)
        server.handler = silent
        reply = await host.ask()
        assert (addresses(reply), reply.answer[0].ttl, ede(reply)) == ({ONE, TWO}, 30, 3)
        assert len(host.gate.calls) == 2, "leased anew before it was told"
        asked = len(server.asked)
        host.pass_time(10.0)
        assert (await host.ask(udp=False)).answer[0].ttl == 20
        assert len(server.asked) == asked
        host.pass_time(86400.0)
        assert (await host.ask()).rcode() == dns.rcode.SERVFAIL

    on_host(work)


def test_walk_upstream_silent_or_useless_is_servfail_that_says_which() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        reply = await host.ask()
        assert (reply.rcode(), ede(reply)) == (dns.rcode.SERVFAIL, 23)
        server.handler = zone(rcode="REFUSED")
        reply = await host.ask()
        assert (reply.rcode(), ede(reply)) == (dns.rcode.SERVFAIL, 22)
        assert not host.gate.calls

    on_host(work, silent)


def test_walk_cname_loop_is_servfail_and_grants_nothing() -> None:
    def loop(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
        lines = (f"{DEB} 300 IN CNAME a.example.net.", f"a.example.net 300 IN CNAME {DEB}.")
        return [answer(query, records(*lines))]

    async def work(host: Host, server: Nameserver) -> None:
        assert (await host.ask()).rcode() == dns.rcode.SERVFAIL
        assert not host.gate.calls

    on_host(work, loop)


def test_walk_private_address_is_removed_unless_the_rule_names_it() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        reply = await host.ask()
        assert (reply.rcode(), addresses(reply), ede(reply)) == (dns.rcode.NOERROR, set(), 17)
        builder = PolicyBuilder()
        rule = builder.add_rule("web", private=(ip_network("10.0.0.0/8"),))
        builder.add_pattern(rule, parse_pattern(DEB))
        host.change(builder.build())
        assert len(addresses(await host.ask())) == 1

    on_host(work, zone(f"{DEB} 300 IN A 10.0.0.1"))


def test_answer_begun_question_whose_answer_is_cut_is_asked_over_tcp() -> None:
    """As the listener does it, without a task: what needs one must make itself one."""
    whole = zone(f"{DEB} 300 IN A 192.0.2.1")

    def cut(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
        if tcp:
            return whole(query, tcp)
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.TC
        return [reply.to_wire()]

    async def work(host: Host, server: Nameserver) -> None:
        replies = []

        async def ask() -> None:
            replies.append(await host.ask())

        began = asyncio.get_running_loop().time()
        host.tasks.begin(ask())
        await until(lambda: replies)
        assert addresses(replies[0]) == {ONE}
        if len(server.asked) > 2:  # asked again because TCP took longer than a try may
            in_time(asyncio.get_running_loop().time() - began, 0.1, "the answer over TCP")
        assert (len(server.asked), host.tasks.failed) == (2, 0)

    on_host(work, cut)
