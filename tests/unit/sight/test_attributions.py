"""From what is seen to who it was: as many as are wanted, in a time that is bounded."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress

import dns.edns
import dns.message
import dns.rdatatype

from dynallow.firewall.denied_log import DeniedPacket
from dynallow.resolver.witness import Ends
from dynallow.sight import attributions
from dynallow.sight.attributions import Attribution, Attributions

LOCAL = socket.inet_aton("127.0.0.1")
ELSEWHERE = socket.inet_aton("192.0.2.9")
FAR = socket.inet_aton("198.51.100.9")
ME = os.getuid()


class Clock:
    """Stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def question(name: str = "Denied.Example.NET", qtype: str = "AAAA") -> bytes:
    return dns.message.make_query(name, qtype, use_edns=0).to_wire()


def packet(uid: int | None, port: int = 443) -> DeniedPacket:
    return DeniedPacket(5.0, FAR, 6, port, LOCAL, 4, uid, 1)


async def named(seen: Attributions) -> list[Attribution]:
    watch = asyncio.get_running_loop().create_task(seen.watch())
    async with asyncio.timeout(30):
        await seen.settled()
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch
    seen.close()
    return seen.drain()


def test_denied_packet_has_its_user_though_its_socket_is_gone() -> None:
    async def work() -> None:
        seen = Attributions()
        seen.hear([packet(4321), packet(None, 80)])
        first, second = await named(seen)
        assert (first.kind, first.at, first.address, first.protocol, first.port) == ("flow", 5.0, FAR, 6, 443)
        assert first.who.user == 4321
        assert (second.port, second.who.user) == (80, None)
        assert seen.counts.unowned == seen.counts.attributed == 2
        assert seen.drain() == []

    asyncio.run(work())


def test_denied_question_has_the_user_who_asked_it() -> None:
    async def work() -> None:
        seen = Attributions({FAR})
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            sock.connect(("127.0.0.1", 53))
            port = sock.getsockname()[1]
            seen.look(question(), Ends(17, LOCAL, port, LOCAL, 53))
            turned = Ends(17, FAR, port, LOCAL, 5353)  # it believes itself connected to 127.0.0.1:53
            seen.look(question("other.example.net", "A"), turned)
            elsewhere = Ends(17, socket.inet_aton("198.51.100.10"), port, LOCAL, 53)
            seen.look(question(), elsewhere)
            first, second, third = await named(seen)
        assert third.who.user is None, "a client elsewhere, by chance with the same port"
        assert (first.kind, first.name, first.qtype) == ("question", b"\6denied\7example\3net\0", 28)
        assert first.who.user == second.who.user == ME
        assert second.qtype == dns.rdatatype.A

    asyncio.run(work())


def test_question_that_is_none_is_left_out() -> None:
    async def work() -> None:
        seen = Attributions()
        seen.look(b"nonsense", Ends(17, LOCAL, 9, LOCAL, 53))
        assert await named(seen) == []
        assert seen.counts.dropped == 1

    asyncio.run(work())


def test_witness_wants_so_many_questions_at_once_and_so_many_a_second() -> None:
    async def work() -> None:
        clock = Clock()
        seen = Attributions(clock=clock)

        def flood(seconds: float) -> int:
            count = 0
            ends = clock.now + seconds
            while clock.now < ends:
                if clock.now >= seen.opens:
                    seen.look(question(), Ends(17, LOCAL, 9, LOCAL, 53))
                    count += 1
                clock.now += 0.0005
            return count

        at_once = flood(0.01)
        assert attributions.QUESTIONS_AT_ONCE <= at_once <= attributions.QUESTIONS_AT_ONCE + 1
        assert attributions.QUESTIONS - 2 <= flood(1.0) <= attributions.QUESTIONS + 2
        clock.now += 100
        assert flood(0.01) <= attributions.QUESTIONS_AT_ONCE + 1

    asyncio.run(work())


def test_flood_of_packets_is_bounded_in_look_ups_and_memory_and_counted() -> None:
    async def work() -> None:
        seen = Attributions(clock=Clock())
        asked = 0

        def look_up(*_: object) -> None:
            nonlocal asked
            asked += 1

        seen._owners.look_up = look_up  # type: ignore[method-assign, assignment]
        for _ in range(100):
            seen.hear([packet(1)] * 100)
        assert asked <= attributions.PACKETS_AT_ONCE + 1
        assert seen.counts.dropped == 10_000 - attributions.PENDING_MAX
        assert len(await named(seen)) == attributions.PENDING_MAX

    asyncio.run(work())


def test_question_that_waits_to_be_named_takes_no_more_than_its_name() -> None:
    """Over TCP it may be 64 KiB long, and 2,048 of them may wait while the thread rests."""
    padding = dns.edns.GenericOption(dns.edns.OptionType.PADDING, bytes(64_000))
    asked = dns.message.make_query("denied.example.net", "A", use_edns=0, options=[padding])
    padded = asked.to_wire(max_size=65535)

    async def work() -> int:
        seen = Attributions()
        seen.look(padded, Ends(6, ELSEWHERE, 40000, LOCAL, 53))
        (pending,) = seen._pending
        seen.close()
        held = [part for part in pending if isinstance(part, bytes)]
        return sum(map(len, held))

    assert len(padded) > 60_000
    assert asyncio.run(work()) < 1000


def test_attributions_that_nobody_takes_are_bounded_and_counted() -> None:
    async def work() -> None:
        seen = Attributions(clock=Clock())
        rounds = attributions.KEPT_MAX // attributions.PENDING_MAX + 1
        task = asyncio.get_running_loop().create_task(seen.watch())
        for _ in range(rounds):
            seen.hear([packet(1)] * attributions.PENDING_MAX)
            async with asyncio.timeout(60):
                await seen.settled()
        task.cancel()
        assert len(seen.drain()) == attributions.KEPT_MAX
        assert seen.counts.dropped == rounds * attributions.PENDING_MAX - attributions.KEPT_MAX

    asyncio.run(work())
