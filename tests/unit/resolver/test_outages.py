"""Servers that die, and come back: who waits, for how long, and who notices (real sockets on loopback)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import NamedTuple

import dns.message
import dns.name
import dns.rdatatype
import pytest

from dynallow.errors import UpstreamError
from dynallow.policy.names import parse_name
from dynallow.policy.patterns import parse_pattern
from dynallow.resolver.upstream.exchange import Exchange
from dynallow.resolver.upstream.pool import Upstreams, Zone
from dynallow.resolver.upstream.server import Server
from dynallow.wire.response import Response
from tests.lab.streaming import StreamServer
from tests.lab.waiting import in_time
from tests.unit.resolver.nameserver import Nameserver, answer, silent, zone
from tests.unit.resolver.responses import records
from tests.unit.resolver.upstreams import bed, is_answer, met

DEB = parse_name("deb.example.org")
LINE = "deb.example.org 300 IN A 192.0.2.1"
LOCAL = dns.name.from_text("1.0.0.127.in-addr.arpa")
right = zone(LINE)


class Pair(NamedTuple):
    """Two servers and the pool that asks them."""

    first: Nameserver
    second: Nameserver
    upstreams: Upstreams

    async def ask(self) -> float:
        """Ask once; how long it took."""
        time = asyncio.get_running_loop().time
        began = time()
        response = await self.upstreams.ask(DEB, 1)
        assert isinstance(response, Response)
        assert len(response.answer) == 1
        return time() - began

    @property
    def states(self) -> list[bool]:
        return [server.up for server in self.upstreams.servers]


@asynccontextmanager
async def pair() -> AsyncIterator[Pair]:
    exchange = Exchange(None)
    async with Nameserver(right) as first, Nameserver(right) as second:
        upstreams = Upstreams(exchange, [Server(first.endpoint), Server(second.endpoint)])
        yield Pair(first, second, upstreams)
        upstreams.close()
        await exchange.tasks.stop()
        exchange.close()


def clients(server: Nameserver) -> int:
    """How many questions came that are no probes."""
    return sum(query.question[0].name != LOCAL for query in server.asked)


def probes(server: Nameserver) -> int:
    return len(server.asked) - clients(server)


def test_one_of_two_dies_all_are_answered_within_a_second_and_only_the_first_wait() -> None:
    async def work() -> None:
        async with pair() as servers:
            await servers.ask()
            servers.first.handler = silent
            burst = await asyncio.gather(*(servers.ask() for _ in range(50)))
            assert max(burst) > 0.3
            in_time(max(burst), 1.5)  # 0.4 on a machine that has nothing else to do
            known = clients(servers.first)
            in_time(max([await servers.ask() for _ in range(50)]), 1.5)
            assert clients(servers.first) == known  # nobody waited for it
            assert servers.states == [False, True]
            assert servers.upstreams.servers[0].strikes == 1

    asyncio.run(work())


def test_dead_server_is_probed_with_a_question_that_is_no_clients_and_by_no_other() -> None:
    async def work() -> None:
        async with pair() as servers:
            servers.first.handler = silent
            await servers.ask()
            await asyncio.gather(*(servers.ask() for _ in range(20)))
            asked = clients(servers.first)
            await met(lambda: probes(servers.first) == 3)
            assert clients(servers.first) == asked == 1
            assert probes(servers.second) == 0
            probe = servers.first.asked[-1].question[0]
            assert (probe.name, probe.rdtype) == (LOCAL, dns.rdatatype.PTR)

    asyncio.run(work())


def test_server_that_is_back_is_first_again_within_two_seconds_without_a_question_that_waits() -> None:
    async def work() -> None:
        time = asyncio.get_running_loop().time
        async with pair() as servers:
            servers.first.handler = silent
            await servers.ask()
            await met(lambda: probes(servers.first) > 0)
            servers.first.handler = right
            began, asked = time(), clients(servers.first)
            while clients(servers.first) == asked:
                in_time(await servers.ask(), 1.0)
                await asyncio.sleep(0.01)
            in_time(time() - began, 2.0)
            await servers.ask()
            assert servers.states == [True, True]
            probed = probes(servers.first)
            assert not servers.upstreams._probes
            assert probes(servers.first) == probed

    asyncio.run(work())


@pytest.mark.parametrize("rcode", ["REFUSED", "SERVFAIL"])
def test_server_that_answers_the_probe_with_no_is_there_all_the_same(rcode: str) -> None:
    """Who knows his own zones alone refuses all others."""

    async def work() -> None:
        def its_own(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
            return zone(rcode=rcode)(query, tcp) if query.question[0].name == LOCAL else right(query, tcp)

        async with pair() as servers:
            servers.first.handler = silent
            await servers.ask()
            servers.first.handler = its_own
            await met(lambda: servers.states == [True, True])
            await servers.ask()
            assert clients(servers.first) == 2

    asyncio.run(work())


def test_server_that_answers_probes_alone_is_asked_ever_more_seldom() -> None:
    async def work() -> None:
        def only_probes(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
            return [answer(query, records(LINE))] if query.question[0].name == LOCAL else []

        async with pair() as servers:
            servers.first.handler = only_probes
            await servers.ask()
            await met(lambda: servers.states == [True, True])
            await servers.ask()
            assert [server.strikes for server in servers.upstreams.servers] == [2, 0]
            before = probes(servers.first)
            await asyncio.sleep(0.6)  # it rests for a second
            assert (servers.states, probes(servers.first)) == ([False, True], before)

    asyncio.run(work())


def test_both_die_the_answer_is_an_error_in_time_and_both_are_back_when_one_is() -> None:
    async def work() -> None:
        time = asyncio.get_running_loop().time
        async with pair() as servers:
            servers.first.handler = servers.second.handler = silent
            began = time()
            with pytest.raises(UpstreamError) as raised:
                await servers.ask()
            assert not raised.value.reached
            in_time(time() - began, 4.0)
            servers.second.handler = right
            began = time()
            in_time(await servers.ask(), 2.0)
            servers.first.handler = right
            await met(lambda: servers.states == [True, True])
            in_time(time() - began, 4.0)

    asyncio.run(work())


def test_sole_server_that_is_back_answers_who_waits_and_is_up_by_its_probe() -> None:
    async def work() -> None:
        time = asyncio.get_running_loop().time
        async with pair() as servers:
            upstreams = Upstreams(Exchange(None), [Server(servers.first.endpoint)])
            (state,) = upstreams.servers
            servers.first.handler = silent
            with pytest.raises(UpstreamError):
                await upstreams.ask(DEB, 1)
            assert not state.up
            waiting = asyncio.ensure_future(upstreams.ask(DEB, 1))
            asked = clients(servers.first)
            await met(lambda: clients(servers.first) > asked)
            servers.first.handler = right
            began = time()
            await met(lambda: state.up)
            assert (await waiting).answer
            in_time(time() - began, 2.0)

    asyncio.run(work())


def test_slow_name_is_answered_by_the_second_and_its_server_is_up_again_at_once() -> None:
    """What takes long for everybody is nobody's death: the second has its whole time."""

    async def work() -> None:
        async with pair() as servers:
            for server in (servers.first, servers.second):
                server.release = asyncio.Event()
            took = asyncio.ensure_future(servers.ask())
            await met(lambda: clients(servers.second) == 1)
            await asyncio.sleep(0.9)
            assert not took.done()
            for server in (servers.first, servers.second):
                assert server.release is not None
                server.release.set()
            in_time(await took, 2.0)
            await met(lambda: servers.states == [True, True])

    asyncio.run(work())


def test_log_says_once_that_a_server_is_down_and_nothing_of_a_slow_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work() -> None:
        async with pair() as servers:
            await servers.ask()
            first = servers.first

            def slow(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
                return right(query, tcp) if query.question[0].name == LOCAL else ()

            first.handler = slow
            await servers.ask()
            await met(lambda: servers.states == [True, True])
            assert caplog.messages == []
            first.handler = right
            await servers.ask()
            first.handler = silent
            await asyncio.gather(*(servers.ask() for _ in range(20)))
            await met(lambda: probes(first) == 4)
            first.handler = right
            await met(lambda: servers.states == [True, True])

    with caplog.at_level(logging.INFO, "dynallow"):
        asyncio.run(work())
    said = [(record.levelname, record.getMessage().split(" ", 2)[2][:15]) for record in caplog.records]
    assert said == [("WARNING", "no answer in 0."), ("INFO", "answers again")]


def test_server_that_says_it_must_be_tcp_has_the_whole_time_for_it() -> None:
    """It is there; what is long for both would be had from nobody."""

    async def work() -> None:
        def cut(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
            return [answer(query, records(LINE), truncated=True)]

        async with pair() as servers:
            servers.first.handler, servers.first.tcp_is_silent = cut, True
            asyncio.get_running_loop().call_later(
                0.7, lambda: servers.first.send_to_all(lambda query: answer(query, records(LINE)))
            )
            assert await servers.ask() > 0.6
            assert not servers.second.asked

    asyncio.run(work())


def test_zones_servers_are_looked_after_as_the_others() -> None:
    async def work() -> None:
        async with pair() as servers:
            dead, other = Server(servers.first.endpoint), Server(servers.second.endpoint)
            zones = [Zone((parse_pattern(".example.org"),), [dead, other])]
            upstreams = Upstreams(Exchange(None), [], zones)
            servers.first.handler = silent
            assert (await upstreams.ask(DEB, 1)).answer
            servers.first.handler = right
            await met(lambda: dead.up)
            asked = clients(servers.first)
            assert (await upstreams.ask(DEB, 1)).answer
            assert clients(servers.first) == asked + 1

    asyncio.run(work())


def test_closed_pool_probes_nobody_and_begins_no_probe() -> None:
    async def work() -> None:
        async with pair() as servers:
            servers.first.handler = silent
            await servers.ask()
            servers.upstreams.close()
            await met(lambda: not servers.upstreams.exchange.tasks)
            before = probes(servers.first)
            servers.second.handler = silent
            with pytest.raises(UpstreamError):
                await servers.ask()
            assert not servers.upstreams.exchange.tasks
            assert (probes(servers.first), probes(servers.second)) == (before, 0)

    asyncio.run(work())


def test_stream_server_that_dies_and_comes_back_is_found_by_its_probe() -> None:
    async def work() -> None:
        time = asyncio.get_running_loop().time
        first, second = StreamServer(), StreamServer()
        async with bed(("tcp", first, None), ("tcp", second, None), timeout_s=2.0) as asking:
            assert is_answer(await asking.ask(0), 0)
            port = asking.servers[0].endpoint.port
            first.act = "silent"
            began = time()
            for number, found in enumerate(await asking.ask_many(20)):
                assert is_answer(found, number)
            in_time(time() - began, 1.5)
            first.stop()
            tried = asking.servers[0].asked
            for number in range(100, 150):
                assert is_answer(await asking.ask(number), number)
            assert asking.servers[0].asked == tried  # nobody waited for it
            assert not asking.servers[0].up
            back = StreamServer()
            await back.start("127.0.0.1", port)
            began = time()
            await met(lambda: asking.servers[0].up)
            in_time(time() - began, 2.0)
            asked = len(back.asked)
            assert is_answer(await asking.ask(200), 200)
            assert len(back.asked) == asked + 1
            asking.upstreams.close()
            back.stop()

    asyncio.run(work())
