"""At the agent's end TCP clients are answered, then told by FIN that no more comes; nobody is reset."""

from __future__ import annotations

import asyncio

import dns.message

from tests.unit.resolver.host import DEB, ONE, Host, addresses, question, until
from tests.unit.resolver.tcp_clients import DENIED, Client, Listening, frame, held, with_listener


async def parted(there: Listening, *, patient: bool = True) -> None:
    """The listener's last moments, as the agent goes through them."""
    await until(lambda: not there.listener.busy(patient))


async def end_of(client: Client) -> bytes:
    """What still comes before the end; raises ConnectionResetError where that is none."""
    return await client.reader.read()


def test_idle_client_is_told_by_fin_and_what_it_asks_behind_that_resets_nothing() -> None:
    async def work(host: Host, there: Listening) -> None:
        client = await there.client()
        client.ask(DEB)
        await client.reply()
        there.listener.rest()
        await parted(there)
        client.ask(DEB)
        for _ in range(20):
            await asyncio.sleep(0)
        assert await end_of(client) == b""
        client.writer.close()
        await until(lambda: not there.connections)

    with_listener(work)


def test_question_in_flight_is_answered_before_the_end() -> None:
    async def work(host: Host, there: Listening) -> None:
        gate = held(host)
        client = await there.client()
        client.ask(DEB, DENIED)
        await until(lambda: host.gate.calls)
        there.listener.rest()
        for patient in (True, False):
            assert there.listener.busy(patient)
        assert host.road.waiting == 1
        gate.set()
        assert sorted(await client.replies(2)) == [0, 1]
        await parted(there)
        assert await end_of(client) == b""

    with_listener(work)


def test_question_that_has_come_and_was_not_read_is_answered_before_the_end() -> None:
    async def work(host: Host, there: Listening) -> None:
        client = await there.client()
        client.ask(DEB)
        await client.reply()
        there.listener.rest()
        client.send(frame(question(DEB, id=9)))  # at once, into the other side's buffer
        assert there.listener.busy(True)  # before the loop has looked at it
        assert addresses(await client.reply()) == {ONE}
        await parted(there)
        assert await end_of(client) == b""

    with_listener(work)


def test_half_a_question_is_waited_for_only_so_long() -> None:
    async def work(host: Host, there: Listening) -> None:
        clients = [await there.client() for _ in range(2)]
        whole = frame(question(DEB))
        for client in clients:
            client.send(whole[:7])
        await until(lambda: there.connections == 2)
        there.listener.rest()
        for _ in range(50):
            assert there.listener.busy(True)
            await asyncio.sleep(0)
        clients[0].send(whole[7:])
        assert addresses(await clients[0].reply()) == {ONE}
        assert there.listener.busy(True)
        assert not there.listener.busy(False)
        for client in clients:
            assert await end_of(client) == b""

    with_listener(work)


def test_client_that_has_just_come_may_still_ask() -> None:
    async def work(host: Host, there: Listening) -> None:
        client = await there.client()
        there.listener.rest()  # it may be accepted, and its connection not be made yet
        await until(lambda: there.connections)
        assert there.listener.busy(True)
        client.ask(DEB)
        assert addresses(await client.reply()) == {ONE}
        await parted(there)
        assert await end_of(client) == b""

    with_listener(work)


def test_client_that_asks_on_and_on_gets_an_end_behind_the_answers_of_what_was_read() -> None:
    async def work(host: Host, there: Listening) -> None:
        client = await there.client()
        client.ask(DEB)
        await client.reply()
        there.listener.rest()
        asking, sent = True, 0

        async def ask_on() -> None:
            nonlocal sent
            while asking:
                client.send(frame(question(DENIED, id=sent % 65536)))
                sent += 1
                await asyncio.sleep(0)

        asker = asyncio.ensure_future(ask_on())
        await parted(there, patient=False)
        told = await end_of(client)
        asking = False
        await asker
        count = 0
        while told:
            size = int.from_bytes(told[:2], "big")
            assert dns.message.from_wire(told[2 : 2 + size]).id == count
            told, count = told[2 + size :], count + 1
        assert count <= sent

    with_listener(work)


def test_client_that_does_not_read_holds_nobody_up_for_long() -> None:
    async def work(host: Host, there: Listening) -> None:
        client = await there.client()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(200):
            client.ask(*["big.example.org"] * 50)
        await until(lambda: host.road.tcp_held)
        there.listener.rest()
        assert there.listener.busy(True)
        await until(lambda: not there.listener.busy(False))

    with_listener(work)
