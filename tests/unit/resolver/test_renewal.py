"""What is in use is asked for anew before its time is over, so that nobody waits for it."""

from __future__ import annotations

import dns.rcode
import pytest

from dynallow.errors import KernelError
from dynallow.resolver import road as road_module
from tests.unit.resolver.host import DEB, ONE, TWO, Host, addresses, on_host, policy, question, until
from tests.unit.resolver.nameserver import Nameserver, zone


def test_walk_question_in_the_last_tenth_is_answered_at_once_and_asked_anew() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask()
        host.pass_time(275.0)
        assert (await host.ask()).answer[0].ttl == 25
        await until(lambda: len(server.asked) == 2 and not len(host.tasks))
        # The new answer was leased like any other, and its whole time is told.
        assert [[grant.ttl_s for grant in call] for call in host.gate.calls] == [[300], [300]]
        assert (await host.ask()).answer[0].ttl == 300
        assert (len(server.asked), host.road.counts.renewed, host.road.counts.fresh) == (2, 1, 1)

    on_host(work)


def test_walk_question_before_the_last_tenth_is_not_asked_anew() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask()
        host.pass_time(269.0)
        assert (await host.ask()).answer[0].ttl == 31
        assert (len(host.tasks), host.road.counts.renewed) == (0, 0)

    on_host(work)


@pytest.mark.parametrize("ttl", [0, 1, 4])
def test_walk_answer_of_a_few_seconds_is_not_asked_anew(ttl: int) -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask()
        host.pass_time(max(ttl - 0.3, 0.0))
        await host.ask()
        assert host.road.counts.renewed == 0

    on_host(work, zone(f"{DEB} {ttl} IN A 192.0.2.1"))


@pytest.mark.parametrize("why", ["upstream", "kernel"])
def test_walk_renewal_that_fails_leaves_what_is_there_and_is_not_repeated_at_once(why: str) -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask()
        host.pass_time(275.0)
        if why == "kernel":
            host.gate.error = KernelError("no")
        else:
            server.handler = zone(rcode="SERVFAIL")
        for _ in range(5):
            reply = await host.ask()
            assert (addresses(reply), reply.answer[0].ttl) == ({ONE, TWO}, 25)
            await until(lambda: not len(host.tasks))
        assert host.road.counts.renewed == 1
        host.pass_time(6.0)
        assert (await host.ask()).answer[0].ttl == 19
        await until(lambda: not len(host.tasks))
        assert (host.road.counts.renewed, host.road.counts.stale, host.tasks.failed) == (2, 0, 0)

    on_host(work)


def test_walk_rule_that_went_is_not_renewed_by() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask()
        host.pass_time(275.0)
        asked = len(server.asked)
        await host.ask()
        host.change(policy())
        await until(lambda: not len(host.tasks))
        assert (len(host.gate.calls), len(host.road.cache)) == (1, 0)
        assert (await host.ask()).rcode() == dns.rcode.NXDOMAIN
        assert len(server.asked) <= asked + 1

    on_host(work)


def test_walk_renewals_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(road_module, "MAX_RENEWALS", 1)

    async def work(host: Host, server: Nameserver) -> None:
        for name in ("a.example.org", "b.example.org"):
            await host.ask(name)
        host.pass_time(275.0)
        for name in ("a.example.org", "b.example.org"):
            assert (await host.ask(name)).answer[0].ttl == 25
        assert host.road.counts.renewed == 1

    two = zone("a.example.org 300 IN A 192.0.2.1", "b.example.org 300 IN A 192.0.2.1")
    on_host(work, two, allowed=policy(web="*.example.org"))


def test_hot_question_in_the_last_tenth_is_renewed_too() -> None:
    """What is asked most is answered from the store of hot replies: it must not be the last to be renewed."""

    async def work(host: Host, server: Nameserver) -> None:
        await host.ask()
        key = question()[2:]
        for passed, hot in ((200.0, True), (69.0, True), (6.0, False)):
            host.pass_time(passed)
            assert (host.road.hot.find([key], host.now) != [None]) is hot
        await host.ask()
        await until(lambda: len(server.asked) == 2 and not len(host.tasks))
        assert (await host.ask()).answer[0].ttl == 300
        assert host.road.hot.find([key], host.now) != [None]

    on_host(work)


def test_hot_while_a_renewal_fails_the_question_is_hot_again_until_the_next_try() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask()
        host.pass_time(275.0)
        server.handler = zone(rcode="SERVFAIL")
        for _ in range(2):
            await host.ask()
            await until(lambda: not len(host.tasks))
        assert host.road.hot.find([question()[2:]], host.now + 1.0) != [None]
        assert host.road.hot.find([question()[2:]], host.now + 6.0) == [None]

    on_host(work)
