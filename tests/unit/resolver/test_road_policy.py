"""The road and the policy: what is denied stays home, and what changes meanwhile is decided anew."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from dynallow.lease.grant import Grant
from dynallow.policy.patterns import parse_pattern
from dynallow.policy.policy import PolicyBuilder
from tests.unit.resolver.host import (
    DEB,
    ONE,
    TWO,
    WEB,
    Gate,
    Host,
    addresses,
    ede,
    on_host,
    policy,
    question,
    until,
)
from tests.unit.resolver.nameserver import Nameserver, zone


def test_walk_denied_name_never_leaves_the_host() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        reply = await host.ask("notexample.org")
        assert (reply.rcode(), ede(reply)) == (dns.rcode.NXDOMAIN, 15)
        reply = await host.ask(DEB, "TXT")
        assert (reply.rcode(), ede(reply)) == (dns.rcode.NOERROR, 17)
        assert not server.asked
        assert not host.gate.calls
        assert (host.road.counts.denied, host.road.counts.filtered) == (1, 1)

    on_host(work)


@pytest.mark.parametrize("ttl_s", [0, 1, 3600])
def test_walk_denial_of_every_kind_may_be_remembered_as_long_as_is_set(ttl_s: int) -> None:
    async def work(host: Host, server: Nameserver) -> None:
        host.road.change(replace(host.road.terms, denied_ttl_s=ttl_s))
        long = ".".join(["x" * 60] * 4)  # the reason does not fit, so another way is taken
        kinds = [("notexample.org", "A"), ("org", "A"), (DEB, "TXT"), (long, "A"), ("localhost", "TXT")]
        for name, qtype in [*kinds, ("168.192.in-addr.arpa", "PTR")]:
            for _ in range(2):
                (soa,) = (await host.ask(name, qtype)).authority
                assert (soa.ttl, soa[0].minimum) == (ttl_s, ttl_s), name

    on_host(work)


def test_change_of_how_long_denials_are_remembered_is_told_at_once() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        for ttl_s in (60, 5):
            host.road.change(replace(host.road.terms, denied_ttl_s=ttl_s))
            host.road.forget()
            for name in ("a.example.net", "a.example.net", "b.example.net"):
                packet = question(name)
                replies: list[bytes | None] = [None]
                if host.road.repeat([packet[2:]], replies, [0], host.now):
                    replies = [(await host.road.walk(packet, udp=True) or b"")[2:]]
                (soa,) = dns.message.from_wire(packet[:2] + (replies[0] or b"")).authority
                assert soa.ttl == ttl_s

    on_host(work)


def test_walk_observe_passes_a_denied_name_on_without_a_lease() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        reply = await host.ask("other.example.net")
        assert addresses(reply) == {ip_address("10.0.0.1").packed}
        assert not host.gate.calls
        assert host.road.counts.denied == 1

    on_host(work, zone("other.example.net 300 IN A 10.0.0.1"), observe=True)


def test_walk_observe_takes_nothing_out_when_a_budget_is_used_up() -> None:
    """Observe blocks no packet, so a name must not be lost to a full set either."""

    async def work(host: Host, server: Nameserver) -> None:
        host.gate.refuse = frozenset({ONE})
        reply = await host.ask()
        assert addresses(reply) == {ONE, TWO, ip_address("10.0.0.1").packed}
        host.change(WEB)
        host.gate.refuse = frozenset({ONE, TWO})
        assert (await host.ask()).rcode() == dns.rcode.NOERROR

    on_host(work, zone(f"{DEB} 300 IN A 192.0.2.1 | 192.0.2.2 | 10.0.0.1"), observe=True)


def test_walk_policy_changed_while_waiting_decides_anew() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        host.gate.open = asyncio.Event()
        asking = asyncio.ensure_future(host.ask())
        await until(lambda: host.gate.calls)
        host.change(policy(web="other.example.org"))
        host.gate.open.set()
        assert (await asking).rcode() == dns.rcode.NXDOMAIN
        assert (len(host.road.cache), len(host.road.hot)) == (0, 0)

    on_host(work)


def test_walk_policy_changed_while_upstream_is_slow_makes_no_lease_for_the_old_one() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        server.release = asyncio.Event()
        asking = asyncio.ensure_future(host.ask())
        await until(lambda: server.asked)
        host.change(policy(apt=DEB))
        server.release.set()
        assert addresses(await asking) == {ONE, TWO}
        assert {grant.rule for call in host.gate.calls for grant in call} == {"apt"}

    on_host(work)


def test_walk_policy_changed_right_after_the_decision_leases_nothing_by_the_old_one() -> None:
    """The question has gone by the old policy; its answer is taken by the new one."""

    async def work(host: Host, server: Nameserver) -> None:
        asking = asyncio.ensure_future(host.ask())
        asyncio.get_running_loop().call_soon(lambda: host.change(policy(apt=DEB)))
        assert addresses(await asking) == {ONE, TWO}
        await host.ask()
        assert {grant.rule for call in host.gate.calls for grant in call} == {"apt"}

    on_host(work)


def test_walk_policy_that_never_settles_is_servfail_in_the_end() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        class Changing(Gate):
            async def ensure(self, grants: Sequence[Grant]) -> frozenset[bytes]:
                host.road.forget()
                return frozenset()

        host.road.leaser = Changing()
        assert (await host.ask()).rcode() == dns.rcode.SERVFAIL

    on_host(work)


def test_walk_rule_that_expires_during_a_slow_upstream_is_not_stretched_by_it() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        server.release = asyncio.Event()
        asking = asyncio.ensure_future(host.ask())
        await until(lambda: server.asked)
        host.pass_time(3.0)
        server.release.set()
        reply = await asking
        (call,) = host.gate.calls
        # The rule ends at wall-clock 5010, which is monotonic 1010.
        assert all(grant.ends is not None and grant.ends <= 1010.0 for grant in call)
        assert reply.answer[0].ttl <= 7

    builder = PolicyBuilder()
    builder.add_pattern(builder.add_rule("web", expires_at=5010.0), parse_pattern(DEB))
    on_host(work, allowed=builder.build())
