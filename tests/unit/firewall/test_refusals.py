"""Answers that the kernel refuses, without a kernel; the rest is in tests/netns."""

from __future__ import annotations

import asyncio
import gc
from typing import cast

from dynallow.errors import KernelError
from dynallow.firewall.elements import Batch
from dynallow.firewall.leaser import Leaser
from dynallow.firewall.netlink import ElementSocket
from dynallow.lease.grant import Grant, Limits
from dynallow.lease.ledger import Ledger
from dynallow.tasks import Tasks


class Refusing:
    """A kernel that says no."""

    def commit(self, batch: Batch) -> None:
        raise KernelError("no")


def test_ensure_refused_answers_leave_no_cycles() -> None:
    async def work() -> None:
        elements = cast(ElementSocket, Refusing())
        leaser = Leaser(Ledger(Limits(), ["web"]), elements, lambda _: "x", in_place=True)
        tasks, refused = Tasks(), 0

        async def one(last: int) -> None:
            nonlocal refused
            try:
                await leaser.ensure([Grant("web", (bytes((192, 0, 2, last)),), 30, b"\1x\0")])
            except KernelError:
                refused += 1

        async def ask() -> None:
            for last in range(20):
                tasks.begin(one(last))
            for _ in range(100):
                await asyncio.sleep(0)
            leaser.resume()  # and with that no refusal is remembered

        await ask()
        gc.collect()
        gc.disable()
        try:
            await ask()
            assert gc.collect() == 0
        finally:
            gc.enable()
        assert refused == 40

    asyncio.run(work())
