"""Readiness beside a status: worked out once, told for a minute, never waited for long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from dynallow.control.readinessschema import ReadinessReport
from dynallow.control.reports.outlook import Outlook
from dynallow.control.schema import ReadyReport
from dynallow.tasks import Tasks


def report(text: str) -> ReadinessReport:
    return {
        "verdict": "ready", "text": text, "mode": "observe", "since": "", "until": "2026-11-22T12:00:00Z",
        "observed_s": 1, "denials": 0, "denied": [], "more": 0, "newest": None, "bypasses": [], "meant": 0,
        "harmless": 0, "untold": {},
    }  # fmt: skip


def looked(test: Callable[[Outlook, list[float]], Coroutine[Any, Any, None]]) -> None:
    """Run it with an outlook whose clock is in its hand."""

    async def run() -> None:
        now, tasks = [1000.0], Tasks()
        try:
            await test(Outlook(tasks, lambda: now[0]), now)
        finally:
            await tasks.stop()

    asyncio.run(run())


async def done(outlook: Outlook) -> None:
    """Return when nothing is being worked out."""
    if outlook._work is not None:
        await asyncio.wait([outlook._work])


def text_of(told: ReadyReport | None) -> str | None:
    return None if told is None else told["text"]


def test_readiness_is_worked_out_once_a_minute_and_anew_for_other_settings() -> None:
    asked: list[str] = []

    def work(text: str) -> Callable[[], ReadinessReport]:
        def worked() -> ReadinessReport:
            asked.append(text)
            return report(text)

        return worked

    async def test(outlook: Outlook, now: list[float]) -> None:
        first, second = object(), object()
        while (told := await outlook.look(first, work("one"))) is None:
            pass
        assert text_of(told) == "one"
        assert text_of(await outlook.look(first, work("two"))) == "one"
        assert asked == ["one"]
        now[0] += 61
        await outlook.look(first, work("three"))
        await done(outlook)
        assert text_of(await outlook.look(first, work("none"))) == "three"
        while (told := await outlook.look(second, work("four"))) is None:
            pass
        assert text_of(told) == "four"

    looked(test)


def test_readiness_that_takes_long_is_not_waited_for_and_told_later() -> None:
    done = threading.Event()

    def work() -> ReadinessReport:
        assert done.wait(60)
        return report("late")

    async def test(outlook: Outlook, now: list[float]) -> None:
        settings = object()
        assert await outlook.look(settings, work) is None
        done.set()
        while (told := await outlook.look(settings, work)) is None:
            pass
        assert text_of(told) == "late"

    looked(test)


def test_readiness_that_fails_is_none_and_is_not_tried_at_once_again() -> None:
    tries = 0

    def work() -> ReadinessReport:
        nonlocal tries
        tries += 1
        raise ZeroDivisionError

    async def test(outlook: Outlook, now: list[float]) -> None:
        settings = object()
        for _ in range(3):
            assert await outlook.look(settings, work) is None
            await done(outlook)

    looked(test)
    assert tries == 1
