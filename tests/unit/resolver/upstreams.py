"""Real stream servers on loopback and the pool that asks them, from the settings on.

Knows both sides; what is expected is the test's.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import NamedTuple

from dynallow.errors import UpstreamError
from dynallow.policy.names import parse_name
from dynallow.resolver.upstream.choose import choose
from dynallow.resolver.upstream.exchange import Exchange
from dynallow.resolver.upstream.pool import Upstreams
from dynallow.resolver.upstream.server import Server
from dynallow.settings import Settings
from dynallow.wire.response import Response
from tests.lab.certificates import SERVER_NAME
from tests.lab.scenarios import fresh_address
from tests.lab.streaming import StreamServer


class Bed(NamedTuple):
    """The pool, and its servers as the settings name them."""

    upstreams: Upstreams
    exchange: Exchange

    @property
    def servers(self) -> Sequence[Server]:
        return self.upstreams.servers

    async def ask(self, number: int) -> Response:
        return await self.upstreams.ask(parse_name(f"n{number}.example.org"), 1)

    async def ask_many(self, count: int) -> list[Response | UpstreamError]:
        """All at once; UpstreamError where none answered."""

        async def one(number: int) -> Response | UpstreamError:
            try:
                return await self.ask(number)
            except UpstreamError as error:
                return error

        return await asyncio.gather(*(one(number) for number in range(count)))


def is_answer(response: Response | UpstreamError, number: int) -> bool:
    """Whether it is what n<number> has."""
    return isinstance(response, Response) and [record[3] for record in response.answer] == [
        ip_address(fresh_address(number)).packed
    ]


async def met(condition: Callable[[], bool]) -> None:
    """Return once it holds; the loop is the test's own, so nobody else can wait."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@asynccontextmanager
async def bed(
    *servers: tuple[str, StreamServer, ssl.SSLContext | None],
    timeout_s: float = 3.0,
    name: str = SERVER_NAME,
) -> AsyncIterator[Bed]:
    """The servers (kind, server, its TLS) running, in the order in which they are asked."""
    texts = []
    for kind, server, context in servers:
        port = await server.start("127.0.0.1", 0, context)
        texts.append(
            {
                "tcp": f"tcp://127.0.0.1:{port}",
                "tls": f"tls://127.0.0.1:{port}" + (f"#{name}" if name else ""),
                "https": f"https://{name}:{port}/dns-query#127.0.0.1",
            }[kind]
        )
    settings = Settings.model_validate({"resolver": {"upstreams": texts, "timeout": f"{timeout_s}s"}})
    exchange = Exchange(None)
    try:
        yield Bed(choose(settings).pool(exchange, timeout_s), exchange)
    finally:
        exchange.close()
        await exchange.tasks.stop()
        for _, server, _ in servers:
            server.stop()
