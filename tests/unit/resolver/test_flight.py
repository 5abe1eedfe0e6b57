"""One failed flight, and all who waited for it."""

from __future__ import annotations

import asyncio
import traceback

import pytest

from dynallow.errors import DecideAgainError, UpstreamError
from dynallow.resolver.answer import Answer
from dynallow.resolver.flight import Twins, fail, join
from dynallow.tasks import Promise, Tasks
from tests.unit.resolver.host import until


async def _landing(twins: Twins) -> None:
    try:
        raise UpstreamError("nobody answers")
    except UpstreamError as error:
        fail(twins, error)


@pytest.mark.parametrize("begun", [False, True])
def test_fail_of_many_twins_tells_each_the_error_by_its_own_way_alone(begun: bool) -> None:
    """Else the last of 4,096 would hold the frames of all that were told before, and print them."""
    traces: list[list[str]] = []

    async def wait(promise: Promise[Answer]) -> None:
        try:
            await promise
        except UpstreamError as error:
            traces.append([frame.name for frame in traceback.extract_tb(error.__traceback__)])

    async def work() -> None:
        twins: Twins = []
        tasks = Tasks()
        for _ in range(500):
            promise = join(twins)
            if begun:
                tasks.begin(wait(promise))
            else:
                tasks.start(wait(promise))
        await asyncio.sleep(0)
        await _landing(twins)
        await until(lambda: not tasks)
        assert not any(twin._error or twin._trace for twin in twins)

    asyncio.run(work())
    assert len(traces) == 500
    assert {tuple(trace) for trace in traces} == {("wait", "__await__", "_landing")}


def test_fail_of_a_flight_that_was_cancelled_has_the_twins_decide_again() -> None:
    async def work() -> None:
        twins: Twins = []
        promise = join(twins)
        fail(twins, asyncio.CancelledError())
        with pytest.raises(DecideAgainError):
            await promise

    asyncio.run(work())
