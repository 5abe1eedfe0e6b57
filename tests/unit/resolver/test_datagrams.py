"""Questions over UDP, many at once: each its own socket, answer and deadline (real sockets on loopback)."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from ipaddress import ip_address
from typing import Any, TypeVar

import dns.message
import pytest

from dynallow.policy.names import parse_name
from dynallow.resolver.attendant import Attendant
from dynallow.resolver.upstream.datagrams import Datagrams, Target, Waiting, target
from dynallow.units import Endpoint
from tests.unit.resolver.nameserver import Nameserver, answer, silent
from tests.unit.resolver.responses import records

T = TypeVar("T")
A = 1
DEB = parse_name("deb.example.org")


def address(name: str) -> str:
    """What the test's server answers for n1.example.org, n2.example.org, …"""
    number = int(name.split(".")[0].removeprefix("n"))
    return f"192.0.2.{number % 250}"


def numbered(query: dns.message.Message, tcp: bool) -> list[bytes]:
    name = query.question[0].name.to_text(omit_final_dot=True).lower()
    return [answer(query, records(f"{name} 300 IN A {address(name)}"))]


def on_datagrams(
    work: Callable[[Datagrams, Target, Nameserver], Coroutine[Any, Any, T]],
    handler: Any = numbered,
    attendant: Attendant | None = None,
) -> T:
    async def run() -> T:
        async with Nameserver(handler) as server:
            datagrams = Datagrams(None, attendant)
            try:
                return await asyncio.wait_for(work(datagrams, target(server.endpoint), server), 20)
            finally:
                datagrams.close()

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(attendant)) as runner:
        return runner.run(run())


def later(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_ask_many_at_once_each_hears_its_own_answer_and_leaves_no_socket() -> None:
    async def work(datagrams: Datagrams, to: Target, server: Nameserver) -> None:
        before = None
        for _ in range(2):  # in the first round the epoll set is made
            before = before or open_files()
            names = [f"n{number}.example.org" for number in range(150)]
            asked = [datagrams.ask(to, parse_name(name), A, later(10.0)) for name in names]
            assert len({waiting.sock.getsockname()[1] for waiting in asked}) == 150
            for name, waiting in zip(names, asked, strict=True):
                response = await waiting.told
                assert response is not None
                assert [record[3] for record in response.answer] == [ip_address(address(name)).packed]
                datagrams.done(waiting)
            assert open_files() <= before + 1
        assert len(server.clients) > 290

    on_datagrams(work)


def test_ask_each_deadline_is_kept_though_they_share_a_timer() -> None:
    async def work(datagrams: Datagrams, to: Target, server: Nameserver) -> None:
        async def wait(seconds: float) -> None:
            deadline = later(seconds)
            waiting = datagrams.ask(to, DEB, A, deadline)
            with pytest.raises(TimeoutError):
                await waiting.told
            datagrams.done(waiting)
            assert deadline <= later(0.0) < deadline + 1.0

        await asyncio.gather(*(wait(seconds) for seconds in (0.3, 0.1, 0.2, 0.1)))

    on_datagrams(work, silent)


def test_ask_whoever_is_done_is_not_told_of_what_comes_later() -> None:
    async def work(datagrams: Datagrams, to: Target, server: Nameserver) -> None:
        server.release = asyncio.Event()
        gone = datagrams.ask(to, parse_name("n1.example.org"), A, later(10.0))
        stays = datagrams.ask(to, parse_name("n2.example.org"), A, later(10.0))
        datagrams.done(gone)
        server.release.set()
        assert (await stays.told) is not None
        datagrams.done(stays)
        assert not gone.told.done()

    on_datagrams(work)


def test_ask_server_that_cannot_be_reached_raises_and_leaves_no_socket() -> None:
    async def work(datagrams: Datagrams, to: Target, server: Nameserver) -> None:
        before = open_files()
        for _ in range(20):
            with pytest.raises(OSError):
                datagrams.ask(target(Endpoint(ip_address("255.255.255.255"), 53)), DEB, A, later(1.0))
        assert open_files() == before

    on_datagrams(work)


def test_ask_mark_that_may_not_be_set_raises_and_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(datagrams: Datagrams, to: Target, server: Nameserver) -> None:
        datagrams.mark = 1
        monkeypatch.setattr(socket, "SO_MARK", 0xFFFF)  # an option that no kernel has
        before = open_files()
        with pytest.raises(OSError):
            datagrams.ask(to, DEB, A, later(1.0))
        assert open_files() == before

    on_datagrams(work)


def test_draw_uses_all_16_bits() -> None:
    datagrams = Datagrams(None)
    drawn = [datagrams.draw() for _ in range(20_000)]
    assert all(0 <= number < 1 << 16 for number in drawn)
    for bit in range(16):
        share = sum(number >> bit & 1 for number in drawn) / len(drawn)
        assert 0.45 < share < 0.55
    assert len(set(drawn)) > 16_000  # about 17,200 expected


class Looking(Attendant):
    """Remembers how many answers had been told when it was called."""

    def __init__(self, waiting: list[Waiting]) -> None:
        super().__init__()
        self.waiting = waiting
        self.told: list[int] = []

    def attend(self) -> None:
        self.told.append(sum(one.told.done() for one in self.waiting))


def test_attendant_is_called_after_each_datagram_of_a_row() -> None:
    waiting: list[Waiting] = []
    attendant = Looking(waiting)

    async def work(datagrams: Datagrams, to: Target, server: Nameserver) -> None:
        server.release = asyncio.Event()
        waiting.extend(
            datagrams.ask(to, parse_name(f"n{number}.example.org"), A, later(5)) for number in range(5)
        )
        while len(server.asked) < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        server.release.set()
        for one in waiting:
            await one.told
            datagrams.done(one)
        assert attendant.told == [1, 2, 3, 4, 5]

    on_datagrams(work, attendant=attendant)
