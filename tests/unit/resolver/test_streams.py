"""Upstreams over TCP and TLS: one connection for all, and what happens when it is no good (real sockets)."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable

import dns.message
import pytest

from dynallow.errors import UpstreamError
from dynallow.resolver.upstream import line as line_module
from dynallow.resolver.upstream.framed import padded
from dynallow.wire.query import build_query
from tests.lab.certificates import Certificates
from tests.lab.streaming import StreamServer
from tests.lab.waiting import in_time
from tests.unit.resolver.upstreams import bed, is_answer, met

KINDS = pytest.mark.parametrize("kind", ["tcp", "tls"])


@pytest.fixture
def good(certificates: Certificates) -> Callable[[str], ssl.SSLContext | None]:
    return lambda kind: None if kind == "tcp" else certificates.good.context(alpn="dot")


Secure = Callable[[str], ssl.SSLContext | None]


# ---------------------------------------------------------------- one connection


@KINDS
def test_ask_200_at_once_share_one_connection_and_may_be_answered_in_any_order(
    kind: str, good: Secure
) -> None:
    async def work() -> None:
        server = StreamServer("reverse", hold=200)
        async with bed((kind, server, good(kind))) as asking:
            answers = await asking.ask_many(200)
            assert all(is_answer(answer, number) for number, answer in enumerate(answers))
            assert (server.connections, len(server.asked)) == (1, 200)
            ids = {message[:2] for message in server.asked}
            assert len(ids) == 200

    asyncio.run(work())


@KINDS
def test_ask_one_after_the_other_keeps_the_connection(kind: str, good: Secure) -> None:
    async def work() -> None:
        server = StreamServer()
        async with bed((kind, server, good(kind))) as asking:
            for number in range(20):
                assert is_answer(await asking.ask(number), number)
            assert server.connections == 1
            assert asking.servers[0].failed == 0

    asyncio.run(work())


def test_ask_over_tls_is_padded_to_whole_blocks_and_over_tcp_not(good: Secure) -> None:
    async def work(kind: str) -> list[bytes]:
        server = StreamServer()
        async with bed((kind, server, good(kind))) as asking:
            await asking.ask(1)
            await asking.ask(123456)
        return server.asked

    assert {len(message) for message in asyncio.run(work("tls"))} == {128}
    assert {len(message) for message in asyncio.run(work("tcp"))} == {43, 48}


@pytest.mark.parametrize("length", range(1, 250, 7))
def test_padded_query_is_the_same_question_in_whole_blocks(length: int) -> None:
    labels = [bytes([min(left, 60)]) + b"a" * min(left, 60) for left in range(length, 0, -61)]
    plain = build_query(7, b"".join(labels) + b"\0", 1)
    message = padded(plain)
    assert len(message) % 128 == 0
    assert len(message) - len(plain) <= 131
    parsed, before = dns.message.from_wire(message), dns.message.from_wire(plain)
    assert (parsed.id, parsed.question, parsed.payload) == (before.id, before.question, before.payload)
    assert [option.otype for option in parsed.options] == [12]


@KINDS
def test_connection_without_questions_is_closed_after_a_while_and_opened_again(
    kind: str, good: Secure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_module, "_IDLE_S", 0.1)

    async def work() -> None:
        server = StreamServer()
        async with bed((kind, server, good(kind))) as asking:
            await asking.ask(1)
            await met(lambda: server.open_now == 0)
            assert is_answer(await asking.ask(2), 2)
            assert server.connections == 2
            assert asking.servers[0].failed == 0

    asyncio.run(work())


@KINDS
def test_connection_that_the_server_closes_is_opened_again_and_no_question_is_lost(
    kind: str, good: Secure
) -> None:
    async def work() -> None:
        server = StreamServer()
        async with bed((kind, server, good(kind))) as asking:
            await asking.ask(1)
            server.drop_all()
            assert is_answer(await asking.ask(2), 2)  # sent before the close is seen
            server.drop_all()
            await met(lambda: server.open_now == 0)
            assert is_answer(await asking.ask(3), 3)
            assert server.connections == 3
            assert asking.servers[0].failed == 0

    asyncio.run(work())


@KINDS
def test_connection_that_breaks_has_its_questions_asked_again_on_one_new_one(kind: str, good: Secure) -> None:
    async def work() -> None:
        server = StreamServer("silent")
        async with bed((kind, server, good(kind))) as asking:
            asked = asyncio.gather(*(asking.ask(number) for number in range(50)))
            await met(lambda: len(server.asked) == 50)
            server.act = "answer"
            server.drop_all()
            answers = await asked
            assert all(is_answer(answer, number) for number, answer in enumerate(answers))
            assert (server.connections, len(server.asked)) == (2, 100)
            assert asking.servers[0].failed == 0

    asyncio.run(work())


def test_connection_that_a_cancelled_question_leaves_serves_the_next(good: Secure) -> None:
    """Its answer comes late and is nobody's fault."""

    async def work() -> None:
        server = StreamServer("reverse", hold=2)
        async with bed(("tls", server, good("tls"))) as asking:
            leaving = asyncio.ensure_future(asking.ask(1))
            await met(lambda: len(server.asked) == 1)
            leaving.cancel()
            assert is_answer(await asking.ask(2), 2)
            server.hold = 1
            assert is_answer(await asking.ask(3), 3)
            assert server.connections == 1
            assert asking.exchange.counts.mismatched == 0

    asyncio.run(work())


def test_questions_beyond_what_one_connection_holds_are_turned_away(
    good: Secure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynallow.resolver.upstream.framed.ON_ONE_LINE", 10)

    async def work() -> None:
        server, other = StreamServer("silent"), StreamServer()
        async with bed(("tcp", server, None), ("tcp", other, None), timeout_s=1.0) as asking:
            asked = asyncio.ensure_future(asking.ask_many(15))
            await met(lambda: (len(server.asked), len(other.asked)) == (10, 5))  # before anybody gives up
            assert asking.servers[0].failed == 5
            answers = await asked
            assert all(is_answer(answer, number) for number, answer in enumerate(answers))
            assert (asking.servers[0].failed, asking.servers[1].failed) == (15, 0)

    asyncio.run(work())


def test_slow_name_leaves_the_connection_to_the_others(good: Secure) -> None:
    """Only when nothing at all comes back is nobody there."""

    async def work() -> None:
        server = StreamServer("silent")
        async with bed(("tls", server, good("tls")), timeout_s=1.0) as asking:
            slow = asyncio.gather(asking.ask(1), return_exceptions=True)
            await met(lambda: len(server.asked) == 1)
            server.act = "answer"
            number = 2
            while not asking.servers[0].failed or number < 40:
                assert is_answer(await asking.ask(number), number)
                number += 1
                await asyncio.sleep(0.01)
            await slow
            assert server.connections == 1

    asyncio.run(work())


# ---------------------------------------------------------------- faults

FAULTS = {
    "silent": r"no answer in \d\.\d s|nothing was answered in time",
    "close": "the server closed the connection|Connection reset by peer",
    "garbage": "it sent what answers nothing",
    "wrong-id": "it sent what answers nothing",
    "wrong-name": "malformed answer: response to another question",
}


@KINDS
@pytest.mark.parametrize("act", FAULTS)
def test_ask_server_that_is_broken_is_followed_by_the_next_and_named(
    kind: str, act: str, good: Secure
) -> None:
    async def work() -> None:
        broken, other = StreamServer(act), StreamServer()
        timeout_s = 1.0 if act == "silent" else 3.0
        async with bed((kind, broken, good(kind)), (kind, other, good(kind)), timeout_s=timeout_s) as asking:
            for answer in await asking.ask_many(20):
                assert not isinstance(answer, UpstreamError)
            assert is_answer(await asking.ask(20), 20)
            first, second = asking.servers
            assert re.fullmatch(FAULTS[act], first.last_error or "")
            assert first.failed == first.asked > 0
            assert (second.failed, other.connections) == (0, 1)
            assert broken.connections <= 3  # however many asked; one more is the probe's
            wrong = asking.exchange.counts.mismatched
            assert wrong > 0 if act in ("garbage", "wrong-id", "wrong-name") else wrong == 0

    asyncio.run(work())


@KINDS
def test_ask_server_that_closes_after_each_answer_loses_no_question(kind: str, good: Secure) -> None:
    async def work() -> None:
        server, other = StreamServer("one-each"), StreamServer()
        async with bed((kind, server, good(kind)), (kind, other, good(kind))) as asking:
            answers = await asking.ask_many(10)
            assert all(is_answer(answer, number) for number, answer in enumerate(answers))
            for number in range(10):
                assert is_answer(await asking.ask(number), number)

    asyncio.run(work())


def test_ask_half_open_connection_costs_one_wait_and_the_next_question_opens_a_new_one(
    good: Secure,
) -> None:
    async def work() -> None:
        server = StreamServer()
        async with bed(("tls", server, good("tls")), timeout_s=1.0) as asking:
            await asking.ask(1)
            server.act = "silent"
            waiting = asyncio.ensure_future(asking.ask(2))
            await met(lambda: len(server.asked) == 2)
            server.act = "answer"  # on what is opened from now on
            assert is_answer(await waiting, 2)
            assert server.connections == 2
            assert asking.servers[0].failed == 1

    asyncio.run(work())


@KINDS
def test_ask_half_open_connection_costs_those_who_came_later_no_wait_of_their_own(
    kind: str, good: Secure
) -> None:
    """The first that waits in vain ends it for all; the others are asked again at once."""

    async def work() -> None:
        server = StreamServer()
        async with bed((kind, server, good(kind)), timeout_s=1.2) as asking:
            await asking.ask(0)
            server.act = "silent"
            first = asyncio.ensure_future(asking.ask(1))
            await met(lambda: len(server.asked) == 2)
            await asyncio.sleep(0.2)
            later = asyncio.gather(*(asking.ask(number) for number in range(2, 20)))
            await met(lambda: len(server.asked) == 20)
            server.act = "answer"  # on what is opened from now on
            for number, answer in enumerate(await later, 2):
                assert is_answer(answer, number)
            assert is_answer(await first, 1)
            assert (server.connections, asking.servers[0].failed) == (2, 1)

    asyncio.run(work())


def test_close_with_questions_in_flight_ends_them_and_opens_nothing() -> None:
    async def work() -> None:
        server = StreamServer("silent")
        async with bed(("tcp", server, None)) as asking:
            asked = asyncio.ensure_future(asking.ask_many(5))
            await met(lambda: len(server.asked) == 5)
            asking.exchange.close()
            assert all(isinstance(answer, UpstreamError) for answer in await asked)
            assert server.connections == 1

    asyncio.run(work())


def test_ask_port_where_nobody_listens_goes_on_at_once_and_is_not_knocked_at_each_time() -> None:
    async def work() -> None:
        time = asyncio.get_running_loop().time
        gone, other = StreamServer(), StreamServer()
        async with bed(("tcp", gone, None), ("tcp", other, None)) as asking:
            gone.stop()
            began = time()
            for answer in await asking.ask_many(50):
                assert not isinstance(answer, UpstreamError)
            in_time(time() - began, 0.9)
            assert asking.servers[0].last_error == "Connection refused"

    asyncio.run(work())


def test_ask_only_server_comes_back_and_is_asked_within_two_seconds() -> None:
    async def work() -> None:
        time = asyncio.get_running_loop().time
        server = StreamServer()
        async with bed(("tcp", server, None)) as asking:
            port = asking.servers[0].endpoint.port
            server.stop()
            began = time()
            while time() - began < 2.5:
                for answer in await asking.ask_many(1):
                    assert isinstance(answer, UpstreamError)
                await asyncio.sleep(0.02)
            back = StreamServer()
            await back.start("127.0.0.1", port)
            began = time()
            last: object = UpstreamError("")
            while isinstance(last, UpstreamError):
                (last,) = await asking.ask_many(1)
                await asyncio.sleep(0.02)
            in_time(time() - began, 2.0)
            back.stop()

    asyncio.run(work())


def test_ask_server_whose_handshake_never_ends_waits_no_longer_than_a_try(good: Secure) -> None:
    """A TCP server that says nothing: TLS waits for its words."""

    async def work() -> None:
        time = asyncio.get_running_loop().time
        mute, other = StreamServer("silent"), StreamServer()
        async with bed(("tls", mute, None), ("tls", other, good("tls")), timeout_s=0.8) as asking:
            began = time()
            for answer in await asking.ask_many(5):
                assert not isinstance(answer, UpstreamError)
            in_time(time() - began, 1.6)
            assert "no answer in " in str(asking.servers[0].last_error)

    asyncio.run(work())
