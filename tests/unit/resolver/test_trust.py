"""Reading the store of trusted certificates: once, whoever loses patience meanwhile."""

from __future__ import annotations

import asyncio
import ssl
import threading

import pytest

from dynallow.resolver.upstream import tls
from dynallow.resolver.upstream.tls import Trust


class Slow(Trust):
    """Its store is read when the test says so."""

    def __init__(self) -> None:
        super().__init__("dot")
        self.release = threading.Event()
        self.reads = 0
        self.fails = False

    def _make(self) -> ssl.SSLContext:
        self.reads += 1
        assert self.release.wait(10)
        if self.fails:
            raise OSError("no store")
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def test_context_of_a_slow_store_is_read_once_though_who_waited_went_away() -> None:
    async def work() -> None:
        trust = Slow()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(trust.context(), 0.01)
        waiting = asyncio.ensure_future(trust.context())
        await asyncio.sleep(0)
        trust.release.set()
        context = await waiting
        assert await trust.context() is context
        assert trust.reads == 1

    asyncio.run(work())


def test_context_read_after_all_have_gone_is_there_for_the_next() -> None:
    async def work() -> None:
        trust = Slow()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(trust.context(), 0.01)
        trust.release.set()
        while trust._context is None:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert await trust.context() is trust._context
        assert trust.reads == 1

    asyncio.run(work())


def test_context_that_could_not_be_read_is_tried_again_and_told_to_all_who_wait() -> None:
    async def work() -> None:
        trust = Slow()
        trust.fails = True
        trust.release.set()
        found = await asyncio.gather(trust.context(), trust.context(), return_exceptions=True)
        assert [type(each) for each in found] == [OSError, OSError]
        trust.fails = False
        assert isinstance(await trust.context(), ssl.SSLContext)
        assert trust.reads == 2

    asyncio.run(work())


def test_context_of_a_store_that_has_changed_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        trust = Slow()
        trust.release.set()
        first = await trust.context()
        monkeypatch.setattr(tls, "_store", lambda: iter([("ca.pem", 2)]))
        second = await trust.context()
        assert second is not first
        assert await trust.context() is second
        assert trust.reads == 2

    asyncio.run(work())
