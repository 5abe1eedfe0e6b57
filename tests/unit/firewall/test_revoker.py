"""What could not be ended at once is gone on with, and stays blocked meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from dynallow.firewall import revoker
from dynallow.firewall.build import REVOKED_S
from dynallow.firewall.cutting import Cut
from dynallow.firewall.probe import Features
from dynallow.lease.grant import Limits
from dynallow.lease.ledger import Ledger
from dynallow.settings import Settings
from dynallow.tasks import Tasks

ONE = bytes([192, 0, 2, 1])
SETTINGS = {
    "mode": "enforce",
    "destination": [{"name": "ntp", "addresses": ["192.0.2.1"], "ports": ["udp/123"]}],
}


class Leaser:
    """Notes what is blocked and let go."""

    epoch = 1

    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[bytes, ...]]] = []

    def block(self, addresses: Sequence[bytes]) -> None:
        self.told.append(("block", tuple(addresses)))

    def release(self, addresses: Sequence[bytes]) -> None:
        self.told.append(("release", tuple(addresses)))


class Table:
    """Only what the revoker asks of it."""

    features = Features()

    def __init__(self) -> None:
        self.leaser = Leaser()


def end(cut: Callable[..., Cut], monkeypatch: pytest.MonkeyPatch, *, step_s: float = 0.0) -> Table:
    """Have the flows to one address ended, to the last try; each look at the clock finds it later."""
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += step_s
        return now

    monkeypatch.setattr(revoker, "cut", cut)
    monkeypatch.setattr(revoker, "_AGAIN_S", (0.0, 0.0))
    table, ledger, tasks = Table(), Ledger(Limits(), []), Tasks()
    ledger.adopt_revoked(ONE, 1e9)
    made = revoker.Revoker(cast(Any, table), ledger, frozenset(), clock, tasks)
    made.follow(Settings.model_validate(SETTINGS), ())

    async def work() -> None:
        await made.end([ONE])
        async with asyncio.timeout(10):
            while len(tasks):  # noqa: ASYNC110 - what it goes on with
                await asyncio.sleep(0)

    asyncio.run(work())
    return table


def after(*failures: Cut | Exception) -> Callable[..., Cut]:
    """What `cut` does: fails in these ways, then does well."""
    left = list(failures)

    def cut(*_: object) -> Cut:
        if not left:
            return Cut(whole=True)
        failure = left.pop(0)
        if isinstance(failure, Exception):
            raise failure
        return failure

    return cut


@pytest.mark.parametrize(
    "failure",
    [Cut(), RuntimeError("can't start new thread"), MemoryError()],
    ids=["not whole", "no thread", "no memory"],
)
def test_end_that_failed_is_tried_again_until_it_has_succeeded(
    failure: Cut | Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In ten minutes the block would be over, and flows that were not marked would count again."""
    table = end(after(failure, failure), monkeypatch)
    assert table.leaser.told == [("release", (ONE,))]


def test_end_that_fails_for_long_keeps_its_addresses_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    table = end(after(*[Cut()] * 6), monkeypatch, step_s=REVOKED_S / 5)
    assert table.leaser.told[0] == ("block", (ONE,))
    assert table.leaser.told[-1] == ("release", (ONE,))
