"""The road and derived names: asked for once an answer has named them, leased as the listed name's."""

from __future__ import annotations

import asyncio

import dns.message
import dns.rcode
import dns.rdatatype

from dynallow.lease.grant import Grant
from dynallow.policy.names import parse_name
from tests.unit.resolver.host import DEB, ONE, Host, addresses, ede, on_host, policy, question, until
from tests.unit.resolver.nameserver import Handler, Nameserver, answer, silent
from tests.unit.resolver.responses import records

CDN, EDGE = "cdn.example.net", "edge.cdn.example.net"
CHAIN = (f"{DEB} 300 IN CNAME {CDN}.", f"{CDN} 300 IN CNAME {EDGE}.", f"{EDGE} 300 IN A 192.0.2.1")
SERVICE = f"_http._tcp.{DEB}"
GRACE_S = 60


def recursor(*lines: str) -> Handler:
    """Answers as a recursor does: the whole chain to what was asked for."""
    everything = records(*lines)

    def handle(query: dns.message.Message, tcp: bool) -> list[bytes]:
        name, rtype = query.question[0].name, query.question[0].rdtype
        found = []
        while True:
            found += [one for one in everything if one.name == name and one.rdtype == rtype]
            links = [one for one in everything if one.name == name and one.rdtype == dns.rdatatype.CNAME]
            if not links or rtype == dns.rdatatype.CNAME:
                return [answer(query, found)]
            found += links
            name = links[0][0].target

    return handle


def denied(message: dns.message.Message) -> bool:
    return message.rcode() == dns.rcode.NXDOMAIN and ede(message) == 15


# ---------------------------------------------------------------- CNAME


def test_walk_target_of_a_cname_is_denied_before_and_answered_after_the_listed_name() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        for udp in (True, False):
            assert denied(await host.ask(EDGE, udp=udp))
        assert not server.asked
        await host.ask()
        for name in (CDN, EDGE):
            for udp in (True, False):
                assert addresses(await host.ask(name, udp=udp)) == {ONE}
        assert denied(await host.ask("other.cdn.example.net"))
        assert {grant.name for call in host.gate.calls for grant in call} == {parse_name(DEB)}

    on_host(work, recursor(*CHAIN))


def test_walk_denial_that_stands_ready_does_not_hide_a_derived_name() -> None:
    """Neither its own, nor the one that serves all names of the domain."""

    async def work(host: Host, server: Nameserver) -> None:
        def again(name: str) -> bool:
            replies: list[bytes | None] = [None]
            return not host.road.repeat([question(name)[2:]], replies, [0], host.now)

        assert not again(EDGE)  # begins their time
        for name in (EDGE, "edge.abc.example.net"):
            assert denied(await host.ask(name))
        assert again(EDGE)
        assert again("edge.xyz.example.net")
        await host.ask()
        assert not again(EDGE)
        assert denied(await host.ask("edge.abc.example.net"))
        assert not again(EDGE)
        assert again("nose.abc.example.net")
        assert addresses(await host.ask(EDGE)) == {ONE}
        host.pass_time(300 + GRACE_S)
        assert not again(EDGE)
        assert denied(await host.ask(EDGE))
        assert again(EDGE)

    on_host(work, recursor(*CHAIN))


def test_walk_derived_name_ends_with_the_lease_of_the_answer_that_named_it() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask()
        host.pass_time(299)
        await host.ask()  # from the cache: names nothing anew, and asks for itself anew
        assert addresses(await host.ask(EDGE)) == {ONE}
        await until(lambda: not host.road._flights)
        host.pass_time(300 + GRACE_S - 1)
        assert addresses(await host.ask(EDGE)) == {ONE}
        host.pass_time(1)
        assert denied(await host.ask(EDGE))

    on_host(work, recursor(*CHAIN))


def test_walk_derived_name_is_not_kept_hot_but_cached() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask()
        for _ in range(3):
            for udp in (True, False):
                assert addresses(await host.ask(EDGE, udp=udp)) == {ONE}
        assert len(server.asked) == 2
        assert host.road.hot.find([question(EDGE)[2:]], host.now) == [None]
        assert host.road.hot_tcp.find(question(EDGE)[2:], host.now) is None

    on_host(work, recursor(*CHAIN))


def test_walk_stale_answer_prolongs_what_it_names() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask()
        await host.ask(EDGE)
        host.pass_time(3600)
        server.handler = silent
        assert denied(await host.ask(EDGE))
        assert addresses(await host.ask()) == {ONE}
        assert addresses(await host.ask(EDGE)) == {ONE}
        host.pass_time(30 + GRACE_S)
        assert denied(await host.ask(EDGE))

    on_host(work, recursor(*CHAIN))


def test_walk_ttl_zero_still_leaves_time_to_follow() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask()
        host.pass_time(GRACE_S - 1)
        assert addresses(await host.ask(CDN)) == {ONE}

    on_host(work, recursor(f"{DEB} 0 IN CNAME {CDN}.", f"{CDN} 0 IN A 192.0.2.1"))


def test_walk_kernel_that_refuses_lets_nothing_be_asked_for() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        host.gate.refuse = frozenset({ONE})
        await host.ask()
        assert denied(await host.ask(EDGE))

    on_host(work, recursor(*CHAIN))


def test_walk_records_off_the_chain_let_nothing_be_asked_for() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask()
        assert denied(await host.ask(CDN))

    everything = records(f"{DEB} 300 IN A 192.0.2.1", f"evil.example.com 300 IN CNAME {CDN}.")
    on_host(work, lambda query, tcp: [answer(query, everything)])


def test_walk_observed_denied_name_lets_nothing_be_asked_for() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask()
        await host.ask(EDGE)
        assert len(host.road.derived) == 0
        assert not host.gate.calls

    on_host(work, recursor(*CHAIN), policy(web="other.example"), observe=True)


def test_walk_observed_allowed_name_derives_and_leases() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask()
        assert addresses(await host.ask(EDGE)) == {ONE}
        assert [call[0].name for call in host.gate.calls] == [parse_name(DEB)] * 2
        assert host.road.counts.denied == 0

    on_host(work, recursor(*CHAIN), observe=True)


def test_walk_observed_name_that_passed_before_it_is_derived_is_leased_from_then_on() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        for udp in (True, False):
            assert addresses(await host.ask(EDGE, udp=udp)) == {ONE}
        assert not host.gate.calls
        await host.ask()
        assert host.road.hot.find([question(EDGE)[2:]], host.now) == [None]
        assert host.road.hot_tcp.find(question(EDGE)[2:], host.now) is None
        await host.ask(EDGE)
        assert len(host.gate.calls) == 2

    on_host(work, recursor(*CHAIN), observe=True)


# ---------------------------------------------------------------- rules


def test_walk_second_rule_that_leads_to_a_name_in_use_is_granted_too() -> None:
    """The cached answer was leased for the first rule alone (invariant 1)."""

    async def work(host: Host, server: Nameserver) -> None:
        await host.ask("a.example.org")
        await host.ask(EDGE)
        await host.ask("b.example.org")
        host.gate.calls.clear()
        for _ in range(2):
            assert addresses(await host.ask(EDGE)) == {ONE}
        expected = [
            Grant("apt", (ONE,), 300, parse_name("b.example.org"), None),
            Grant("web", (ONE,), 300, parse_name("a.example.org"), None),
        ]
        assert [sorted(call) for call in host.gate.calls] == [expected]

    lines = (f"{name}.example.org 300 IN CNAME {EDGE}." for name in "ab")
    on_host(
        work,
        recursor(*lines, f"{EDGE} 300 IN A 192.0.2.1"),
        policy(web="a.example.org", apt="b.example.org"),
    )


def test_walk_question_meanwhile_for_more_rules_does_not_join_the_one_for_fewer() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask("a.example.org")
        server.release = asyncio.Event()
        first = asyncio.ensure_future(host.ask(EDGE))
        await until(lambda: len(server.asked) == 2)
        other = asyncio.ensure_future(host.ask("b.example.org"))
        await until(lambda: len(server.asked) == 3)
        server.release.set()
        await other
        server.release.clear()
        await asyncio.ensure_future(first)
        host.gate.calls.clear()
        server.release.set()
        assert addresses(await host.ask(EDGE)) == {ONE}
        assert {grant.rule for grant in host.gate.calls[0]} == {"web", "apt"}

    lines = (f"{name}.example.org 300 IN CNAME {EDGE}." for name in "ab")
    on_host(
        work,
        recursor(*lines, f"{EDGE} 300 IN A 192.0.2.1"),
        policy(web="a.example.org", apt="b.example.org"),
    )


def test_walk_rule_taken_away_takes_its_derived_names_and_another_keeps_them() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask()
        host.change(policy(web=DEB, more="more.example"))
        assert addresses(await host.ask(EDGE)) == {ONE}
        host.change(policy(more="more.example"))
        assert denied(await host.ask(EDGE))

    on_host(work, recursor(*CHAIN))


# ---------------------------------------------------------------- SRV, HTTPS


def test_walk_https_of_another_port_is_the_domains_and_so_are_its_leases() -> None:
    """RFC 9460 section 9.1; a target of "." is the service's own name (section 2.5.2)."""
    service = f"_8443._https.{DEB}"
    lines = (f"{service} 300 IN HTTPS 1 . port=8443 ipv4hint=192.0.2.1", f"{service} 300 IN A 192.0.2.1")

    async def work(host: Host, server: Nameserver) -> None:
        host.change(policy(web=DEB))
        assert denied(await host.ask(service))
        reply = await host.ask(service, "HTTPS")
        assert "ipv4hint" in reply.answer[0].to_text()
        assert addresses(await host.ask(service)) == {ONE}
        assert denied(await host.ask(f"_9443._https.{DEB}"))
        assert {grant.name for call in host.gate.calls for grant in call} == {parse_name(DEB)}

    on_host(work, recursor(*lines))


def test_walk_target_of_a_service_is_answered_and_leased_as_the_domains() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        assert denied(await host.ask(EDGE))
        reply = await host.ask(SERVICE, "SRV")
        assert len(reply.answer[0]) == 1
        assert addresses(await host.ask(EDGE)) == {ONE}
        assert [grant.name for call in host.gate.calls for grant in call] == [parse_name(DEB)]

    on_host(work, recursor(f"{SERVICE} 300 IN SRV 0 0 80 {EDGE}.", f"{EDGE} 300 IN A 192.0.2.1"))


def test_walk_target_of_an_https_alias_may_have_services_and_addresses() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        reply = await host.ask(DEB, "HTTPS")
        assert reply.answer[0][0].to_text() == f"0 {CDN}."
        reply = await host.ask(CDN, "HTTPS")
        assert reply.answer[0][0].to_text() == f'1 {EDGE}. alpn="h2"'
        for name in (CDN, EDGE):
            assert addresses(await host.ask(name)) == {ONE}

    lines = (f"{DEB} 300 IN HTTPS 0 {CDN}.", f"{CDN} 300 IN HTTPS 1 {EDGE}. alpn=h2")
    on_host(work, recursor(*lines, f"{EDGE} 300 IN A 192.0.2.1", f"{CDN} 300 IN A 192.0.2.1"))


# ---------------------------------------------------------------- how many


def test_walk_targets_without_end_are_bounded() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        host.road.derived.size = 5
        for number in range(20):
            await host.ask(f"n{number}.example.org")
        assert len(host.road.derived) == 5
        assert host.road.derived.evicted == {"web": 15}
        assert denied(await host.ask("n0.example.net"))
        assert addresses(await host.ask("n19.example.net")) == {ONE}

    lines = [
        line
        for number in range(20)
        for line in (
            f"n{number}.example.org 300 IN CNAME n{number}.example.net.",
            f"n{number}.example.net 300 IN A 192.0.2.1",
        )
    ]
    on_host(work, recursor(*lines), policy(web="*.example.org"))
