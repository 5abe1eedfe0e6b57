"""Tasks: held, heard, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
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


def test_begin_work_that_never_waits_is_done_at_once_and_no_task() -> None:
    async def work() -> None:
        tasks, done = Tasks(), []

        async def quick() -> None:
            done.append("quick")

        tasks.begin(quick())
        assert (done, len(tasks)) == (["quick"], 0)

    asyncio.run(work())


def test_begin_work_that_waits_goes_on_as_a_task() -> None:
    async def work() -> None:
        tasks, seen = Tasks(), []
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        ended = asyncio.Event()

        async def slow() -> None:
            seen.append("begun")
            seen.append(await future)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.001):
                    await asyncio.Event().wait()
            seen.append("ended")
            ended.set()

        tasks.begin(slow())
        assert (seen, len(tasks)) == (["begun"], 1)
        future.set_result("told")
        await ended.wait()
        await asyncio.sleep(0)
        assert seen == ["begun", "told", "ended"]
        assert (len(tasks), tasks.failed) == (0, 0)

    asyncio.run(work())


def test_begin_makes_tasks_of_coroutines_alone_since_newer_asyncio_takes_no_generators() -> None:
    async def work() -> bool:
        tasks, go_on = Tasks(), asyncio.Event()

        async def wait() -> None:
            await go_on.wait()

        tasks.begin(wait())
        (task,) = asyncio.all_tasks() - {asyncio.current_task()}
        go_on.set()
        await task
        return inspect.iscoroutine(task.get_coro())

    assert asyncio.run(work())


@pytest.mark.parametrize("waits", [False, True])
def test_begin_unexpected_error_is_logged_and_counted_and_not_raised(
    caplog: pytest.LogCaptureFixture, waits: bool
) -> None:
    async def work() -> Tasks:
        tasks, failing = Tasks(), asyncio.Event()

        async def fail() -> None:
            if waits:
                await asyncio.sleep(0.001)
            failing.set()
            raise ZeroDivisionError("by nought")

        tasks.begin(fail())
        await failing.wait()
        await asyncio.sleep(0)
        assert len(tasks) == 0
        return tasks

    with caplog.at_level(logging.ERROR):
        assert asyncio.run(work()).failed == 1
    (record,) = caplog.records
    assert "by nought" in record.getMessage()


def test_stop_ends_what_was_begun_also_before_its_first_turn() -> None:
    async def work() -> tuple[list[str], int]:
        tasks, left = Tasks(), []

        async def busy(name: str) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                left.append(name)

        tasks.begin(busy("a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks.begin(busy("b"))
        await tasks.stop()
        return left, len(tasks)

    left, running = asyncio.run(work())
    gc.collect()
    assert (sorted(left), running) == (["a", "b"], 0)


def test_keep_what_failed_is_begun_again_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that ended would look at nothing any more, and nobody would notice."""
    monkeypatch.setattr("dynallow.tasks._AGAIN_S", 0.0)

    async def work() -> tuple[int, int]:
        tasks, begun = Tasks(), 0

        async def watch() -> None:
            nonlocal begun
            begun += 1
            if begun < 3:
                raise RuntimeError("can't start new thread")
            await asyncio.Event().wait()

        tasks.keep(watch)
        while begun < 3:  # noqa: ASYNC110
            await asyncio.sleep(0)
        failed = tasks.failed
        await tasks.stop()
        return begun, failed

    assert asyncio.run(work()) == (3, 2)
