"""DS and DNSKEY of the zones above what may be asked for: whose are answered, and whose stay denied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from dynallow.policy.patterns import parse_pattern
from dynallow.policy.policy import Policy, PolicyBuilder
from tests.unit.resolver.host import DEB, ONE, Host, addresses, on_host, policy
from tests.unit.resolver.nameserver import Nameserver
from tests.unit.resolver.validating import DO, ask, on, says, types

KEY = "257 3 13 " + "A" * 86 + "=="
ABOVE = ["deb.example.org", "example.org", "org", "."]
NOT_ABOVE = ["x.deb.example.org", "other.example.org", "net", "example.net", "invalid", "local"]


@pytest.mark.parametrize("qtype", ["DS", "DNSKEY"])
def test_walk_keys_of_zones_above_a_listed_name_are_answered_and_grant_nothing(qtype: str) -> None:
    def handle(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
        owner = query.question[0].name.to_text().rstrip(".") or ""
        line = f"{owner} 300 IN {qtype} " + (KEY if qtype == "DNSKEY" else "1 13 2 " + "ab" * 32)
        return says(line)(query, tcp)

    async def work(host: Host, server: Nameserver) -> None:
        on(host)
        for name in ABOVE:
            reply = await ask(host, DO, name, qtype)
            assert (types(reply), reply.rcode()) == ([qtype], dns.rcode.NOERROR)
        assert len(server.asked) == len(ABOVE)
        for name in NOT_ABOVE:
            for _ in range(2):
                assert (await ask(host, DO, name, qtype)).rcode() == dns.rcode.NXDOMAIN
        assert len(server.asked) == len(ABOVE), "denied stays home (invariant 7)"
        assert host.gate.calls == []
        host.road.terms = replace(host.road.terms, dnssec=False)
        host.road.forget()
        for name in ABOVE:
            assert types(await ask(host, DO, name, qtype)) == ["SOA"]
        assert len(server.asked) == len(ABOVE)

    on_host(work, handle)


def test_walk_other_types_above_a_listed_name_stay_denied() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        on(host)
        for qtype in ("A", "NS", "SOA", "RRSIG", "NSEC", "NSEC3", "CDS", "TXT"):
            await ask(host, DO, "example.org", qtype)
        assert not server.asked

    on_host(work, says())


def test_walk_no_name_listed_not_even_the_roots_key_is_asked_for() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        on(host)
        assert (await ask(host, DO, ".", "DNSKEY")).rcode() == dns.rcode.NXDOMAIN
        assert not server.asked

    on_host(work, says(), Policy())


def test_walk_keys_above_a_rule_that_expired_or_a_name_that_is_excepted_stay_home() -> None:
    builder = PolicyBuilder()
    rule = builder.add_rule("web", expires_at=5100.0)
    builder.add_pattern(rule, parse_pattern(DEB))
    both = builder.add_rule("both")
    builder.add_pattern(both, parse_pattern(".example.net"))
    builder.add_exception(both, parse_pattern(".sub.example.net"))

    async def work(host: Host, server: Nameserver) -> None:
        on(host)
        await ask(host, DO, "sub.example.net", "DS")
        assert not server.asked
        await ask(host, DO, "org", "DS")
        assert len(server.asked) == 1
        host.pass_time(200)
        for name in (DEB, "example.org", "org"):
            await ask(host, DO, name, "DS")
        assert len(server.asked) == 1

    on_host(work, says(), builder.build())


def test_walk_keys_above_an_aliases_target_may_be_asked_for_while_the_answer_lives() -> None:
    lines = (f"{DEB} 300 IN CNAME cdn.example.net.", "cdn.example.net 300 IN A 192.0.2.1")

    def handle(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
        return says(*(lines if query.question[0].rdtype == dns.rdatatype.A else ()))(query, tcp)

    async def work(host: Host, server: Nameserver) -> None:
        on(host)
        above = [
            (name, qtype) for name in ("cdn.example.net", "example.net", "net") for qtype in ("DS", "DNSKEY")
        ]
        for name, qtype in above:  # denied, and that must not be remembered
            assert (await ask(host, DO, name, qtype)).rcode() == dns.rcode.NXDOMAIN
        await ask(host)
        for name, qtype in above:
            assert (await ask(host, DO, name, qtype)).rcode() == dns.rcode.NOERROR
        for name in ("x.cdn.example.net", "other.example.net", "com"):
            assert (await ask(host, DO, name, "DS")).rcode() == dns.rcode.NXDOMAIN
        assert (await ask(host, DO, "cdn.example.net", "TXT")).answer == []
        asked = len(server.asked)
        assert asked == 1 + len(above)
        host.pass_time(361)  # a lease's life after it was told for 300 s
        for _ in host.road.derived.sweep(host.now):
            pass
        assert (await ask(host, DO, "net", "DS")).rcode() == dns.rcode.NXDOMAIN
        await ask(host)
        host.change(policy(web="other.example.org"))
        on(host)
        assert (await ask(host, DO, "net", "DS")).rcode() == dns.rcode.NXDOMAIN
        assert len(server.asked) == asked + 1

    on_host(work, handle)


def test_walk_keys_of_an_aliases_target_that_the_rule_excepts_or_whose_rule_expired_stay_home() -> None:
    lines = (f"{DEB} 300 IN CNAME cdn.example.net.", "cdn.example.net 300 IN A 192.0.2.1")

    def web(expires_at: float | None, *excepts: str) -> Policy:
        builder = PolicyBuilder()
        rule = builder.add_rule("web", expires_at=expires_at)
        builder.add_pattern(rule, parse_pattern(DEB))
        for pattern in excepts:
            builder.add_exception(rule, parse_pattern(pattern))
        return builder.build()

    async def work(host: Host, server: Nameserver) -> None:
        on(host)
        assert addresses(await ask(host)) == {ONE}
        host.pass_time(100)
        for _ in host.road.derived.sweep(host.now):
            pass
        for name in ("cdn.example.net", "example.net", "net"):
            await ask(host, DO, name, "DS")
        assert len(server.asked) == 1

    on_host(work, says(*lines), web(None, ".example.net"))
    on_host(work, says(*lines), web(5100.0))


def test_walk_without_the_setting_keys_above_an_aliases_target_are_denied() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        assert addresses(await ask(host)) == {ONE}
        for name in ("cdn.example.net", "example.net"):
            assert (await ask(host, DO, name, "DNSKEY")).answer == []
        assert len(server.asked) == 1

    on_host(work, says(f"{DEB} 300 IN CNAME cdn.example.net.", "cdn.example.net 300 IN A 192.0.2.1"))
