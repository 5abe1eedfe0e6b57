"""Upstreams over HTTPS: what is sent, what is taken, and every way of not answering (real sockets)."""

from __future__ import annotations

import asyncio
import re
import ssl

import dns.message
import pytest

from dynallow.errors import UpstreamError
from dynallow.resolver.upstream import line as line_module
from tests.lab.certificates import Certificates
from tests.lab.streaming import StreamServer
from tests.unit.resolver.upstreams import bed, is_answer, met


@pytest.fixture
def good(certificates: Certificates) -> ssl.SSLContext:
    return certificates.good.context(alpn="h2")


def test_ask_is_a_post_of_a_padded_message_with_id_0(good: ssl.SSLContext) -> None:
    async def work() -> None:
        server = StreamServer(http=True)
        async with bed(("https", server, good)) as asking:
            assert is_answer(await asking.ask(7), 7)
            port = asking.servers[0].endpoint.port
        (message,), (headers,) = server.asked, server.requests
        assert len(message) == 128
        assert dns.message.from_wire(message).id == 0
        assert headers == {
            ":method": "POST",
            ":scheme": "https",
            ":authority": f"dns.example.org:{port}",
            ":path": "/dns-query",
            "accept": "application/dns-message",
            "content-type": "application/dns-message",
            "content-length": "128",
        }

    asyncio.run(work())


def test_ask_300_at_once_share_one_connection_and_may_be_answered_in_any_order(good: ssl.SSLContext) -> None:
    """The server takes a hundred at a time (its setting), the others wait for their turn here."""

    async def work() -> None:
        server = StreamServer("reverse", http=True, hold=100)
        async with bed(("https", server, good), timeout_s=3.0) as asking:
            answers = await asking.ask_many(300)
            assert all(is_answer(answer, number) for number, answer in enumerate(answers))
            assert (server.connections, len(server.asked)) == (1, 300)

    asyncio.run(work())


def test_ask_1200_exhaust_no_window(good: ssl.SSLContext) -> None:
    """Flow control: 1,200 × 128 bytes are twice the connection's window, both ways."""

    async def work() -> None:
        server = StreamServer(http=True)
        async with bed(("https", server, good), timeout_s=3.0) as asking:
            for _ in range(12):
                assert not any(isinstance(answer, UpstreamError) for answer in await asking.ask_many(100))
            assert server.connections == 1

    asyncio.run(work())


def test_ask_answer_from_a_cache_is_as_old_as_the_cache_says(good: ssl.SSLContext) -> None:
    async def work() -> list[int]:
        server = StreamServer(http=True)
        ttls = []
        async with bed(("https", server, good)) as asking:
            for server.age in (0, 100, 10**9, 10**30):
                ttls += [record[2] for record in (await asking.ask(7)).answer]
        return ttls

    assert asyncio.run(work()) == [300, 200, 0, 300]


FAULTS = {
    "429": "HTTP status 429",
    "500": "HTTP status 500",
    "404": "HTTP status 404",
    "301": "HTTP status 301",
    "204": "HTTP status 204",
    "html": "content type 'text/html', not application/dns-message",
    "silent": r"no answer in \d\.\d s|nothing was answered in time",
    "close": "the server closed the connection|Connection reset by peer",
    "garbage": "malformed answer: .*|it answered another question",
    "wrong-id": "malformed answer: .*|it answered another question",
    "wrong-name": "malformed answer: .*|it answered another question",
    "refuse": "the server refused the stream",
    "odd": r"no answer in \d\.\d s",
    "endless": "HTTP/2: a frame without end",
}


@pytest.mark.parametrize("act", FAULTS)
def test_ask_server_that_does_not_answer_is_followed_by_the_next_and_named(
    act: str, good: ssl.SSLContext
) -> None:
    async def work() -> None:
        broken, other = StreamServer(act, http=True), StreamServer(http=True)
        timeout_s = 1.0 if "no answer" in FAULTS[act] else 3.0
        async with bed(("https", broken, good), ("https", other, good), timeout_s=timeout_s) as asking:
            answers = await asking.ask_many(20)
            assert all(is_answer(answer, number) for number, answer in enumerate(answers))
            assert is_answer(await asking.ask(20), 20)
            first, second = asking.servers
            assert re.fullmatch(FAULTS[act], first.last_error or "")
            assert first.failed == first.asked > 0
            assert (second.failed, other.connections) == (0, 1)
            # One more is the probe's.
            assert broken.connections <= 21 if act == "garbage" else broken.connections <= 3

    asyncio.run(work())


def test_server_that_floods_with_pings_holds_up_no_other_question(good: ssl.SSLContext) -> None:
    """Twenty seconds of work for h2; it is done in slices, between which others have their turn."""

    async def work() -> None:
        server, other = StreamServer("pings", http=True), StreamServer(http=True)
        async with bed(("https", server, good), ("https", other, good), timeout_s=1.0) as asking:
            assert is_answer(await asking.ask(1), 1)
            assert "no answer in " in str(asking.servers[0].last_error)

    asyncio.run(work())


@pytest.mark.parametrize("act", ["429", "500", "html"])
def test_ask_server_that_says_no_and_recovers_is_asked_on_the_same_connection(
    act: str, good: ssl.SSLContext
) -> None:
    async def work() -> None:
        server = StreamServer(act, http=True)
        async with bed(("https", server, good)) as asking:
            with pytest.raises(UpstreamError) as raised:
                await asking.ask(1)
            assert raised.value.reached
            server.act = "answer"
            assert is_answer(await asking.ask(2), 2)
            assert server.connections == 1

    asyncio.run(work())


def test_goodbye_loses_no_question(good: ssl.SSLContext) -> None:
    """GOAWAY ends the connection; what is not answered is asked again elsewhere; nothing was malformed."""

    async def work() -> None:
        server, other = StreamServer("goodbye", http=True), StreamServer(http=True)
        async with bed(("https", server, good), ("https", other, good)) as asking:
            for number in range(5):
                assert is_answer(await asking.ask(number), number)
            assert server.connections == 5
            assert asking.servers[0].failed == 0
            assert asking.exchange.counts.malformed == 0
            answers = await asking.ask_many(10)
            assert all(is_answer(answer, number) for number, answer in enumerate(answers))

    asyncio.run(work())


def test_connection_that_breaks_has_its_questions_asked_again_on_one_new_one(good: ssl.SSLContext) -> None:
    async def work() -> None:
        server = StreamServer("silent", http=True)
        async with bed(("https", server, good)) as asking:
            asked = asyncio.gather(*(asking.ask(number) for number in range(50)))
            await met(lambda: len(server.asked) == 50)
            server.act = "answer"
            server.drop_all()
            assert all(is_answer(answer, number) for number, answer in enumerate(await asked))
            assert server.connections == 2
            assert asking.servers[0].failed == 0

    asyncio.run(work())


def test_connection_without_questions_is_closed_after_a_while(
    good: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_module, "_IDLE_S", 0.1)

    async def work() -> None:
        server = StreamServer(http=True)
        async with bed(("https", server, good)) as asking:
            await asking.ask(1)
            await met(lambda: not server.open_now)
            assert is_answer(await asking.ask(2), 2)
            assert server.connections == 2

    asyncio.run(work())


def test_question_that_is_cancelled_resets_its_stream_alone(good: ssl.SSLContext) -> None:
    async def work() -> None:
        server = StreamServer("reverse", http=True, hold=2)
        async with bed(("https", server, good)) as asking:
            leaving = asyncio.ensure_future(asking.ask(1))
            await met(lambda: bool(server.asked))
            leaving.cancel()
            assert is_answer(await asking.ask(2), 2)
            assert server.connections == 1

    asyncio.run(work())


def test_ask_server_that_speaks_no_http2_is_told_nothing(certificates: Certificates) -> None:
    async def work() -> None:
        server = StreamServer(http=True)
        async with bed(("https", server, certificates.good.context())) as asking:
            with pytest.raises(UpstreamError, match="does not speak HTTP/2"):
                await asking.ask(1)
            assert not server.asked

    asyncio.run(work())


@pytest.mark.parametrize("fault", ["expired", "wrong_name", "self_signed"])
def test_ask_server_with_a_bad_certificate_is_told_nothing_and_the_next_asked(
    fault: str, certificates: Certificates, good: ssl.SSLContext
) -> None:
    context = getattr(certificates, fault)().context(alpn="h2")

    async def work() -> None:
        bad, other = StreamServer(http=True), StreamServer(http=True)
        async with bed(("https", bad, context), ("https", other, good)) as asking:
            answers = await asking.ask_many(10)
            assert all(is_answer(answer, number) for number, answer in enumerate(answers))
            assert not bad.asked
            assert (asking.servers[0].last_error or "").startswith("certificate: ")

    asyncio.run(work())
