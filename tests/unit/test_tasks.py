"""Tasks: held, heard, stopped."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from dynallow.errors import KernelError
from dynallow.tasks import Tasks


def test_start_task_that_nobody_else_holds_runs_to_its_end() -> None:
    async def work() -> list[str]:
        tasks, done = Tasks(), []
        blocker: asyncio.Event = asyncio.Event()

        async def slow() -> None:
            await blocker.wait()
            done.append("done")

        ended = asyncio.Event()
        tasks.start(slow()).add_done_callback(lambda _: ended.set())
        assert len(tasks) == 1
        await asyncio.sleep(0)
        gc.collect()
        blocker.set()
        await ended.wait()
        assert len(tasks) == 0
        return done

    assert asyncio.run(work()) == ["done"]


def test_start_unexpected_exception_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> Tasks:
        tasks = Tasks()

        async def fail() -> None:
            raise ZeroDivisionError("by nought")

        task = tasks.start(fail())
        await asyncio.wait([task])
        await asyncio.sleep(0)
        return tasks

    with caplog.at_level(logging.ERROR):
        tasks = asyncio.run(work())
    assert (tasks.failed, len(tasks)) == (1, 0)
    (record,) = caplog.records
    assert "by nought" in record.getMessage()
    assert record.exc_info is not None


def test_start_error_of_ours_goes_to_whoever_awaits_and_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work() -> Tasks:
        tasks = Tasks()

        async def refuse() -> None:
            raise KernelError("no")

        with pytest.raises(KernelError):
            await tasks.start(refuse())
        return tasks

    with caplog.at_level(logging.WARNING):
        assert asyncio.run(work()).failed == 0
    assert not caplog.records


def test_stop_cancels_what_runs_and_waits_for_its_clean_up() -> None:
    async def work() -> tuple[list[str], Tasks]:
        tasks, left = Tasks(), []

        async def busy(name: str) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                left.append(name)

        for name in ("a", "b"):
            tasks.start(busy(name))
        await asyncio.sleep(0)
        await tasks.stop()
        await asyncio.sleep(0)
        return left, tasks

    left, tasks = asyncio.run(work())
    assert sorted(left) == ["a", "b"]
    assert (tasks.failed, len(tasks)) == (0, 0)


def test_stop_with_nothing_running_returns() -> None:
    asyncio.run(Tasks().stop())
