"""The TCP listener on real sockets: answers as they get ready."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import replace

import dns.message
import dns.rcode
import pytest

from tests.unit.resolver.host import DEB, ONE, Host, addresses, question, until
from tests.unit.resolver.tcp_clients import (
    ALL,
    DENIED,
    LOOPBACK,
    PATIENT,
    Listening,
    frame,
    held,
    with_listener,
)


def test_tcp_slow_question_does_not_hold_up_the_cached_and_denied_ones_behind_it() -> None:
    async def work(host: Host, there: Listening) -> None:
        client = await there.client()
        client.ask(DEB)
        assert addresses(await client.reply()) == {ONE}
        gate = held(host)
        client.ask("slow.example.org", DEB, DENIED, "slow2.example.org", DEB)
        assert await client.replies(3) == [1, 2, 4]
        gate.set()
        assert sorted(await client.replies(2)) == [0, 3]

    with_listener(work)


def test_tcp_questions_beyond_the_limit_in_flight_wait_and_are_answered() -> None:
    async def work(host: Host, there: Listening) -> None:
        gate = held(host)
        client = await there.client()
        client.ask(*(f"n{number}.example.org" for number in range(10)), DENIED)
        await until(lambda: len(host.gate.calls) == 3)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(host.gate.calls) == 3
        gate.set()
        assert sorted(await client.replies(11)) == list(range(11))

    with_listener(work, replace(PATIENT, in_flight=3))


def test_tcp_client_that_ends_its_side_still_gets_its_answers() -> None:
    async def work(host: Host, there: Listening) -> None:
        gate = held(host)
        client = await there.client()
        client.ask("a.example.org", "b.example.org", DENIED)
        client.writer.write_eof()
        assert await client.replies(1) == [2]
        gate.set()
        assert sorted(await client.replies(2)) == [0, 1]
        assert await client.reader.read() == b""

    with_listener(work)


def test_tcp_what_is_no_question_ends_the_connection_after_the_answers_before_it() -> None:
    async def work(host: Host, there: Listening) -> None:
        gate = held(host)
        client = await there.client()
        client.ask("a.example.org")
        client.send(frame(b"") + frame(question(DENIED)))
        await until(lambda: host.gate.calls)
        client.send(frame(question(DENIED)) * 100)
        gate.set()
        assert await client.replies(1) == [0]
        await client.end()
        assert host.road.counts.denied == 0

    with_listener(work)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_tcp_questions_in_pieces_of_any_size_are_answered(size: int) -> None:
    async def work(host: Host, there: Listening) -> None:
        client = await there.client()
        data = b"".join(frame(question(DENIED, id=number)) for number in range(5))
        for at in range(0, len(data), size):
            client.send(data[at : at + size])
            await asyncio.sleep(0)
        assert await client.replies(5) == [0, 1, 2, 3, 4]

    with_listener(work)


def test_tcp_more_questions_than_are_read_at_once_are_all_answered() -> None:
    async def work(host: Host, there: Listening) -> None:
        client, count = await there.client(), 300
        client.ask(*[DENIED] * count)
        assert await client.replies(count) == list(range(count))

    with_listener(work, replace(PATIENT, read=512))


def test_tcp_message_of_64_kib_is_read_whole() -> None:
    async def work(host: Host, there: Listening) -> None:
        client = await there.client()
        client.send(frame(question(DENIED, id=9) + bytes(65_000)))
        reply = await client.reply()
        assert (reply.id, reply.rcode()) == (9, dns.rcode.FORMERR)
        client.ask(DENIED)
        assert await client.replies(1) == [0]

    with_listener(work, replace(PATIENT, read=512))


def test_tcp_clients_take_turns() -> None:
    """One with a thousand questions does not keep the other waiting for all of them."""

    async def work(host: Host, there: Listening) -> None:
        many, one = await there.client(), await there.client()
        many.ask(*[DENIED] * 200)
        await until(lambda: host.road.counts.denied > 0)
        one.ask(DENIED)
        await one.reply()
        assert host.road.counts.denied < 150
        await many.replies(200)

    with_listener(work, replace(PATIENT, turn_s=0.0))


def test_tcp_question_that_breaks_the_road_ends_its_own_connection_alone() -> None:
    async def work(host: Host, there: Listening) -> None:
        decide = ALL.decide

        class Broken:
            def decide(self, name: bytes, qtype: int, wall: float) -> object:
                if b"break" in name:
                    raise ZeroDivisionError
                return decide(name, qtype, wall)

        host.road.terms = replace(host.road.terms, policy=Broken())  # type: ignore[arg-type]
        broken, whole = await there.client(), await there.client()
        broken.ask("break.example.org")
        whole.ask(DENIED)
        assert await whole.replies(1) == [0]
        await broken.end()
        assert host.tasks.failed == 1
        host.tasks.failed = 0

    with_listener(work)


def test_tcp_client_that_is_gone_before_its_replies_leaves_no_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """asyncio says of each write, from the fifth on, that it is in vain: a stranger could fill the log."""

    async def work(host: Host, there: Listening) -> None:
        client = await there.client()
        client.ask(DEB)
        await client.reply()
        for _ in range(5):
            with socket.create_connection((str(LOOPBACK), there.port)) as gone:
                await until(lambda: there.connections == 2)
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                gone.sendall(frame(question(DEB, id=0)) * 100)
            await until(lambda: there.connections == 1)
        assert host.road.counts.hot > 5

    with_listener(work)
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []
