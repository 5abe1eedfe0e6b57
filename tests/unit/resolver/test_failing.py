"""Questions that fail leave nothing behind.

The agent hardly ever looks through old objects for cycles (`Agent._start`): one for each
question that fails would be memory that anybody can take while no upstream answers.
"""

from __future__ import annotations

import asyncio
import gc
import socket

import pytest

from dynallow.errors import KernelError, UpstreamError
from dynallow.resolver.upstream.choose import choose
from dynallow.resolver.upstream.exchange import Exchange
from dynallow.settings import Settings
from dynallow.tasks import Tasks
from tests.unit.resolver.host import Host, on_host, policy, question, until
from tests.unit.resolver.nameserver import Handler, Nameserver, silent, zone

ALL = policy(web="*.example.org")
NAMES = tuple(f"n{number}.example.org" for number in range(4))
DATA = zone(*(f"{name} 300 IN A 192.0.2.1" for name in NAMES))


@pytest.mark.parametrize(
    ("handler", "error"),
    [(silent, None), (zone(rcode="SERVFAIL"), None), (DATA, KernelError("no"))],
    ids=["silent", "servfail", "kernel"],
)
def test_answer_failing_questions_and_their_twins_leave_no_cycles(
    handler: Handler, error: KernelError | None
) -> None:
    async def ask(host: Host) -> None:
        async def one(packet: bytes) -> None:
            await host.road.walk(packet, udp=True)

        failed = host.road.counts.servfail
        for name in NAMES:
            for ident in range(5):
                host.tasks.begin(one(question(name, id=ident)))
        await until(lambda: host.road.counts.servfail == failed + 5 * len(NAMES))
        await asyncio.sleep(0)

    async def work(host: Host, server: Nameserver) -> None:
        host.gate.error = error
        await ask(host)  # what is made once is made
        gc.collect()
        gc.disable()
        try:
            await ask(host)
            assert gc.collect() == 0
        finally:
            gc.enable()

    on_host(work, handler, ALL)


def test_ask_stream_that_nobody_listens_on_leaves_no_cycles() -> None:
    async def work() -> None:
        with socket.socket() as taken:  # bound, and nobody listens there
            taken.bind(("127.0.0.1", 0))
            upstream = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
            settings = Settings.model_validate({"resolver": {"upstreams": [upstream]}})
            exchange, tasks = Exchange(None), Tasks()
            upstreams, failed = choose(settings).pool(exchange, 0.2), 0

            async def one(number: int) -> None:
                nonlocal failed
                try:
                    await upstreams.ask(b"\3n%02d\0" % number, 1)
                except UpstreamError:
                    failed += 1

            async def ask() -> None:
                for number in range(20):
                    tasks.begin(one(number))
                await until(lambda: not len(tasks))

            await ask()
            await asyncio.sleep(1.1)  # no connection is tried for so long after some failures in a row
            gc.collect()
            gc.disable()
            try:
                await ask()
                assert gc.collect() == 0
            finally:
                gc.enable()
                exchange.close()
            assert failed == 40

    asyncio.run(work())
