"""Tasks: what waits for promises goes on together, and what is to be called soon comes then."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest

from dynallow.errors import KernelError
from dynallow.tasks import Promise, Tasks


@pytest.mark.parametrize("begun", [True, False])
def test_promise_kept_or_broken_is_told_to_who_waits_begun_or_in_a_task(begun: bool) -> None:
    async def work() -> None:
        tasks, seen = Tasks(), []
        promises: list[Promise[str]] = [Promise(), Promise(), Promise()]
        promises[2].set_result("before anybody waited")

        async def wait() -> None:
            seen.append(await promises[0])
            with contextlib.suppress(KernelError):
                await promises[1]
                seen.append("unbroken")
            seen.append(await promises[2])

        if begun:
            tasks.begin(wait())
        else:
            tasks.start(wait())
            await asyncio.sleep(0)
        assert (seen, len(tasks), len(asyncio.all_tasks())) == ([], 1, 1 if begun else 2)
        promises[0].set_result("kept")
        assert not seen, "not in the step of whoever keeps it"
        await _turns()
        assert seen == ["kept"]
        promises[1].set_exception(KernelError("broken"))
        await _turns()
        assert seen == ["kept", "before anybody waited"]
        assert (len(tasks), tasks.failed) == (0, 0)

    asyncio.run(work())


def test_begin_work_that_waits_for_a_promise_and_then_for_another_thing_becomes_a_task() -> None:
    async def work() -> None:
        tasks, seen = Tasks(), []
        first: Promise[str] = Promise()
        last: Promise[str] = Promise()

        async def wait() -> None:
            seen.append(await first)
            await asyncio.sleep(0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.001):
                    await asyncio.Event().wait()
            seen.append("timed out")
            seen.append(await last)

        tasks.begin(wait())
        first.set_result("first")
        while len(seen) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        last.set_result("last")
        await _turns()
        assert seen == ["first", "timed out", "last"]
        assert (len(tasks), tasks.failed) == (0, 0)

    asyncio.run(work())


def test_begin_many_woken_in_one_turn_go_on_each_and_one_failure_is_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work() -> None:
        tasks, seen = Tasks(), []
        promises: list[Promise[int]] = [Promise() for _ in range(5)]

        async def wait(promise: Promise[int]) -> None:
            seen.append(1 // await promise)

        for promise in promises:
            tasks.begin(wait(promise))
        for number, promise in enumerate(promises):
            promise.set_result(number)
        await _turns()
        assert seen == [1, 0, 0, 0]
        assert (len(tasks), tasks.failed) == (0, 1)

    with caplog.at_level(logging.ERROR):
        asyncio.run(work())
    assert len(caplog.records) == 1


@pytest.mark.parametrize("woken", [False, True])
def test_stop_ends_what_waits_for_a_promise_and_a_late_word_is_heard_by_nobody(woken: bool) -> None:
    async def work() -> None:
        tasks, left = Tasks(), []
        promises: list[Promise[None]] = [Promise(), Promise()]

        async def busy(promise: Promise[None], name: str) -> None:
            try:
                await promise
                left.append("told")
            finally:
                left.append(name)

        tasks.begin(busy(promises[0], "begun"))
        started = tasks.start(busy(promises[1], "started"))
        await asyncio.sleep(0)
        if woken:
            promises[0].set_result(None)
        await tasks.stop()
        assert (left, len(tasks), started.cancelled()) == (["begun", "started"], 0, True)
        for promise in promises[woken:]:
            promise.set_result(None)
        await _turns()
        assert (left, tasks.failed) == (["begun", "started"], 0)

    asyncio.run(work())


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_between_is_called_before_each_further_step_of_what_was_begun() -> None:
    async def work() -> list[str]:
        order: list[str] = []
        tasks = Tasks(lambda: order.append("between"))

        async def steps(name: str) -> None:
            for number in range(3):
                order.append(f"{name}{number}")
                await asyncio.sleep(0)

        tasks.begin(steps("a"))
        tasks.begin(steps("b"))
        assert order == ["a0", "b0"]
        while tasks:  # noqa: ASYNC110
            await asyncio.sleep(0)
        return order

    between = "between"
    later = ["a1", "b1", "a2", "b2"]
    expected = ["a0", "b0", *(word for step in later for word in (between, step)), between, between]
    assert asyncio.run(work()) == expected


def test_soon_from_what_goes_on_together_is_called_once_all_have_and_what_it_wakes_in_the_same_turn() -> None:
    async def work() -> list[str]:
        tasks, happened = Tasks(), list[str]()
        arrived = [Promise[None]() for _ in range(3)]
        written: list[Promise[None]] = []

        def write() -> None:
            happened.append(f"{len(written)} written")
            for promise in written:
                promise.set_result(None)

        async def answer(number: int) -> None:
            await arrived[number]
            happened.append(f"{number} arrived")
            if not written:
                tasks.soon(write)
            written.append(Promise[None]())
            await written[-1]
            happened.append(f"{number} answered")

        for number in range(3):
            tasks.begin(answer(number))
        for promise in arrived:
            promise.set_result(None)
        assert happened == []
        asyncio.get_running_loop().call_soon(happened.append, "the next callback")
        await _turns()
        assert len(tasks) == 0
        return happened

    assert asyncio.run(work()) == [
        *("0 arrived", "1 arrived", "2 arrived", "3 written"),
        *("0 answered", "1 answered", "2 answered", "the next callback"),
    ]


def test_soon_from_elsewhere_is_called_in_the_next_turn_and_its_failure_takes_nobody_along() -> None:
    async def work() -> tuple[list[str], int]:
        tasks, happened = Tasks(), list[str]()
        arrived = Promise[None]()

        def fail() -> None:
            raise ZeroDivisionError("by nought")

        async def answer() -> None:
            await arrived
            tasks.soon(fail)
            tasks.soon(lambda: happened.append("after it"))

        tasks.soon(lambda: happened.append("the next turn"))
        assert happened == []
        await asyncio.sleep(0)
        assert happened == ["the next turn"]
        tasks.begin(answer())
        arrived.set_result(None)
        await _turns()
        return happened, tasks.failed

    assert asyncio.run(work()) == (["the next turn", "after it"], 1)


def test_soon_is_kept_also_when_what_looks_between_the_steps_fails() -> None:
    happened: list[str] = []

    def between() -> None:
        if happened == ["first"]:
            raise ZeroDivisionError("by nought")

    async def work() -> None:
        tasks = Tasks(between)
        arrived, other = Promise[None](), Promise[None]()

        async def first() -> None:
            await arrived
            happened.append("first")
            tasks.soon(lambda: happened.append("called"))

        async def second() -> None:
            await other

        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        tasks.begin(first())
        tasks.begin(second())
        arrived.set_result(None)
        other.set_result(None)
        await _turns()
        await tasks.stop()

    asyncio.run(work())
    assert happened == ["first", "called"]


def test_begin_work_that_ends_cancelled_takes_nobody_along() -> None:
    async def work() -> tuple[list[int], int, int]:
        tasks, told = Tasks(), []
        promises: list[Promise[int]] = [Promise(), Promise()]

        async def wait(promise: Promise[int]) -> None:
            told.append(await promise)

        for promise in promises:
            tasks.begin(wait(promise))
        promises[0].set_exception(asyncio.CancelledError())
        promises[1].set_result(1)
        await _turns()
        return told, len(tasks), tasks.failed

    assert asyncio.run(work()) == ([1], 0, 0)
