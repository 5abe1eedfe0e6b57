"""What is written for one answer holds up the loop for one transaction at a time, however much it is."""

from __future__ import annotations

import asyncio
from typing import cast

from dynallow.firewall.elements import Batch
from dynallow.firewall.leaser import Leaser
from dynallow.firewall.netlink import ElementSocket
from dynallow.lease.grant import Grant, Limits
from dynallow.lease.ledger import Ledger
from dynallow.tasks import Promise, Tasks

RULES = [f"rule-{number}" for number in range(10)]
ADDRESSES = tuple((0x01000000 + number).to_bytes(4, "big") for number in range(256))


class Kernel:
    """Acknowledges all, and counts it."""

    def __init__(self) -> None:
        self.transactions = 0

    def commit(self, batch: Batch) -> None:
        self.transactions += 1


def test_answer_of_many_transactions_lets_the_loop_have_its_turn_between_them() -> None:
    async def work() -> int:
        tasks, kernel = Tasks(), Kernel()
        leaser = Leaser(
            Ledger(Limits(), RULES),
            cast(ElementSocket, kernel),
            lambda name: "a",
            in_place=True,
            soon=tasks.soon,
        )
        came: Promise[None] = Promise()

        async def answer() -> None:
            await came
            await leaser.ensure([Grant(rule, ADDRESSES, 60, b"\1a\0") for rule in RULES])

        tasks.begin(answer())
        came.set_result(None)
        longest = before = 0
        while len(tasks):
            await asyncio.sleep(0)
            longest, before = max(longest, kernel.transactions - before), kernel.transactions
        assert kernel.transactions == len(RULES) * len(ADDRESSES) / 128
        return longest

    assert asyncio.run(work()) == 1
