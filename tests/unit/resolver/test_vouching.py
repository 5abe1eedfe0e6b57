"""Who is believed that an answer is validated; DO and CD reach every kind of server (real sockets)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import dns.message
import pytest

from dynallow.policy.names import parse_name
from dynallow.resolver.upstream.choose import choose
from dynallow.resolver.upstream.exchange import Exchange
from dynallow.settings import Settings
from dynallow.units import Endpoint
from tests.lab.certificates import Certificates
from tests.lab.streaming import Reply, StreamServer
from tests.unit.resolver.nameserver import Nameserver, answer
from tests.unit.resolver.upstreams import bed

DO, CD, AD = 0x8000, 0x0010, 0x0020
NAME = parse_name("n1.example.org")


class Vouching(StreamServer):
    """Sets AD in all it says."""

    def heed(self, message: bytes, reply: Reply, close: Callable[[], None]) -> None:
        super().heed(message, lambda right: reply(right[:3] + bytes((right[3] | AD,)) + right[4:]), close)


@pytest.mark.parametrize("how", [0, DO, DO | CD])
@pytest.mark.parametrize(("kind", "believed"), [("tcp", False), ("tls", True), ("https", True)])
def test_ask_ad_is_kept_of_those_alone_whose_certificate_was_verified(
    kind: str, believed: bool, how: int, certificates: Certificates
) -> None:
    async def work() -> None:
        server = Vouching(http=kind == "https")
        context = (
            None if kind == "tcp" else certificates.good.context(alpn="h2" if kind == "https" else "dot")
        )
        async with bed((kind, server, context)) as asking:
            response = await asking.upstreams.ask(NAME, 1, how)
        assert bool(response.flags & AD) == believed
        asked = dns.message.from_wire(server.asked[0])
        assert (asked.ednsflags & DO, asked.flags & CD) == (how & DO, how & CD)

    asyncio.run(work())


@pytest.mark.parametrize("truncated", [False, True])
def test_ask_ad_of_a_datagram_or_of_the_tcp_that_follows_is_nobodys_word(truncated: bool) -> None:
    def handle(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
        reply = answer(query, [], truncated=truncated and not tcp)
        yield reply[:3] + bytes((reply[3] | AD,)) + reply[4:]

    async def work() -> None:
        async with Nameserver(handle) as server:
            exchange = Exchange(None)
            pool = choose(settings(server.endpoint)).pool(exchange, 1.0)
            response = await pool.ask(NAME, 1, DO | CD)
            exchange.close()
        assert not response.flags & AD
        assert [(asked.ednsflags & DO, asked.flags & CD) for asked in server.asked] == [(DO, CD)] * (
            1 + truncated
        )

    asyncio.run(work())


def settings(endpoint: Endpoint) -> Settings:
    return Settings.model_validate({"resolver": {"upstreams": [str(endpoint)]}})
