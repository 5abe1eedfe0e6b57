"""Beats come while every check passes, on a loop that goes round; else none."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise

from dynallow.errors import KernelError
from dynallow.watchdog import Watchdog

PERIOD_S = 0.12


class Heard:
    """A manager that writes down when it was told what."""

    def __init__(self) -> None:
        self.beats: list[float] = []
        self.said: list[str] = []

    def beat(self) -> None:
        self.beats.append(time.monotonic())

    def status(self, status: str) -> None:
        self.said.append(status)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def watched(
    work: Callable[[Heard, Watchdog], Awaitable[None]], *checks: Callable[[], Awaitable[None]]
) -> Heard:
    heard = Heard()

    async def main() -> None:
        watchdog = Watchdog(heard, PERIOD_S, checks, lambda: "fine")
        running = asyncio.get_running_loop().create_task(watchdog.run())
        await work(heard, watchdog)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())
    return heard


def longest_gap(beats: Sequence[float]) -> float:
    return max(later - earlier for earlier, later in pairwise(beats))


def test_watchdog_checks_that_pass_beat_several_times_a_period() -> None:
    async def well() -> None:
        await asyncio.sleep(0)

    async def work(heard: Heard, _: Watchdog) -> None:
        await until(lambda: len(heard.beats) >= 7)

    heard = watched(work, well)
    assert heard.beats[6] - heard.beats[0] >= PERIOD_S * 0.9
    assert heard.said == []


def test_watchdog_check_that_fails_means_no_beat_until_it_passes() -> None:
    failing = True

    async def kernel() -> None:
        if failing:
            raise KernelError("no acknowledgement came")

    async def work(heard: Heard, watchdog: Watchdog) -> None:
        nonlocal failing
        await until(lambda: watchdog.failed >= 4)
        assert heard.beats == []
        assert heard.said[-1] == "not well: no acknowledgement came"
        failing = False
        await until(lambda: heard.beats)
        assert heard.said[-1] == "fine"

    watched(work, kernel)


def test_watchdog_check_that_hangs_means_no_beat() -> None:
    async def hangs() -> None:
        await asyncio.Event().wait()

    async def work(heard: Heard, watchdog: Watchdog) -> None:
        await until(lambda: watchdog.failed >= 3)
        assert heard.beats == []
        assert "had not passed" in heard.said[-1]

    watched(work, hangs)


def test_watchdog_every_check_must_pass() -> None:
    async def well() -> None:
        pass

    async def unwell() -> None:
        raise RuntimeError  # of whatever kind

    async def work(heard: Heard, watchdog: Watchdog) -> None:
        await until(lambda: watchdog.failed >= 2)
        assert heard.beats == []
        assert heard.said[-1] == "not well: RuntimeError"

    watched(work, well, unwell)


def test_watchdog_loop_that_stands_still_means_no_beat() -> None:
    async def well() -> None:
        pass

    async def work(heard: Heard, _: Watchdog) -> None:
        await until(lambda: heard.beats)
        count = len(heard.beats)
        threading.Event().wait(5 * PERIOD_S)  # the loop's own thread
        assert len(heard.beats) == count
        await until(lambda: len(heard.beats) > count + 1)

    assert longest_gap(watched(work, well).beats) >= 5 * PERIOD_S
