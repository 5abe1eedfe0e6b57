"""What becomes of counts where two ask at once, who waits for them is cancelled, or the disk is slow."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dynallow.firewall.tallies import Tally
from dynallow.lease.grant import Limits
from dynallow.lease.ledger import Ledger
from dynallow.resolver.attendant import Attendant
from dynallow.resolver.cache import AnswerCache
from dynallow.resolver.hot import HotReplies
from dynallow.resolver.road import Road
from dynallow.resolver.terms import Terms
from dynallow.resolver.upstream.exchange import Exchange
from dynallow.resolver.upstream.pool import Upstreams
from dynallow.settings import Settings
from dynallow.sight.history import History
from dynallow.sight.reading import Reading
from dynallow.sight.sight import Sight
from dynallow.tasks import Tasks
from tests.unit.resolver.host import WEB, Gate

SOON_S = 60.0


@dataclass
class Kernel:
    """Denied packets to one address, and who reads how many there are."""

    packets: int = 0
    made: int = 0
    goes_on: threading.Event = field(default_factory=threading.Event)
    reads: threading.Event = field(default_factory=threading.Event)
    at_once: int = 0
    """How many threads have read at once."""

    def counting(self, marks: bytes) -> Counters:
        self.made += 1
        return Counters(self, int(marks or b"0"))


@dataclass
class Counters:
    kernel: Kernel
    told: int
    _reading: int = 0

    def total(self) -> int:
        return self.kernel.packets

    def read(self) -> Sequence[Tally]:
        kernel = self.kernel
        self._reading += 1
        kernel.at_once = max(kernel.at_once, self._reading)
        kernel.reads.set()
        assert kernel.goes_on.wait(SOON_S)
        new, self.told = kernel.packets - self.told, kernel.packets
        self._reading -= 1
        return [Tally(True, bytes((192, 0, 2, 1)), 6, 443, 1000, new, 60 * new)] if new else []

    def marks(self) -> bytes:
        return str(self.told).encode()

    def close(self) -> None:
        pass


@pytest.fixture
def kernel() -> Kernel:
    kernel = Kernel()
    kernel.goes_on.set()
    return kernel


def sight(path: Path, kernel: Kernel, keep: str = "90d") -> Sight:
    control = {"socket": str(path / "control.sock")}
    settings = Settings.model_validate({"control": control, "history": {"keep": keep}})
    attendant = Attendant()
    road = Road(
        terms=Terms(WEB, Limits(), False, "nxdomain"),
        leaser=Gate(),
        upstreams=Upstreams(Exchange(None), [], timeout_s=0.2),
        cache=AnswerCache(1, 0.0),
        hot=HotReplies(1),
        tasks=Tasks(attendant.attend),
    )
    it = Sight(road, Ledger(Limits()), lambda: settings, {})
    it.counting = kernel.counting
    return it


def told(it: Sight) -> int:
    return sum(one.times for one in it.records(0.0)) + sum(it.untold(0.0).values())


def test_settle_twice_at_once_before_the_first_look_counts_once(tmp_path: Path, kernel: Kernel) -> None:
    async def ask() -> int:
        kernel.packets = 7
        it = sight(tmp_path, kernel)
        await asyncio.gather(it.settle(), it.settle(), it.settle())
        return told(it)

    assert (asyncio.run(ask()), kernel.made) == (7, 1)


def test_close_while_the_counters_are_read_for_one_who_was_cancelled_loses_nothing(
    tmp_path: Path, kernel: Kernel
) -> None:
    """The agent stops: its tasks are cancelled in whatever they do, and then the last of it is kept."""

    async def stop() -> None:
        it = sight(tmp_path, kernel)
        await it.settle()
        kernel.packets = 5
        kernel.goes_on.clear()
        kernel.reads.clear()
        looks = asyncio.create_task(it.settle())
        await asyncio.to_thread(kernel.reads.wait, SOON_S)
        looks.cancel()
        await asyncio.wait((looks,))
        closes = asyncio.create_task(it.close())
        await asyncio.sleep(0)
        kernel.goes_on.set()
        await closes

    asyncio.run(stop())
    kernel.packets = 9
    after = sight(tmp_path, kernel)
    asyncio.run(after.settle())
    assert (told(after), kernel.at_once) == (9, 1)


def test_keep_while_the_disk_is_slow_leaves_the_loop_alone(
    tmp_path: Path, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on = threading.Event(), threading.Event()
    reading = History.reading

    def slow(history: History) -> Reading:
        begun.set()
        assert goes_on.wait(SOON_S), "the loop stands still"
        return reading(history)

    async def look_back() -> int:
        it = sight(tmp_path, kernel)
        kernel.packets = 3
        await it.settle()
        await it._keep()
        monkeypatch.setattr(History, "reading", slow)
        looks = asyncio.create_task(asyncio.to_thread(told, it))
        await asyncio.to_thread(begun.wait, SOON_S)
        keeps = asyncio.create_task(it._keep())
        changes = asyncio.create_task(it.before_change())
        for _ in range(10):
            await asyncio.sleep(0)
        goes_on.set()
        await asyncio.gather(keeps, changes)
        return await looks

    assert asyncio.run(look_back()) == 3


def test_change_goes_on_where_nothing_can_be_counted(
    tmp_path: Path, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(counters: Counters) -> Sequence[Tally]:
        raise RuntimeError("nobody has thought of this")

    monkeypatch.setattr(Counters, "read", broken)

    async def change() -> None:
        it = sight(tmp_path, kernel)
        await it.before_change()
        await it.close()

    asyncio.run(change())


def test_lines_are_told_where_no_file_is_kept(tmp_path: Path, kernel: Kernel) -> None:
    async def look_back() -> int:
        it = sight(tmp_path, kernel, "0s")
        it.revoked([("web", bytes((192, 0, 2, 1)))], "enforce")
        await it._keep()
        return len(it.told(0.0))

    assert asyncio.run(look_back()) == 1
