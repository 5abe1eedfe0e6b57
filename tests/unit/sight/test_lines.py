"""Lines for followers: each has its own row, a flood is counted, and nobody waits for anybody."""

from __future__ import annotations

import asyncio

import pytest

from dynallow.sight.lines import BURST, FOLLOWERS_MAX, RATE, UNSAVED_MAX, Follower, Lines, TooManyError
from dynallow.usage.lines import Line


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def line(note: str = "") -> Line:
    return Line(0.0, "mode", "", "enforce", note=note)


def many(count: int) -> list[Line]:
    return [line(str(number)) for number in range(count)]


def test_follow_gets_what_comes_in_its_order() -> None:
    async def work() -> None:
        lines = Lines(Clock())
        follower = lines.follow()
        lines.add(many(3))
        lines.add([line("last")])
        assert await follower.take(0.0) == (0, [*many(3), line("last")])
        assert await follower.take(0.0) == (0, [])

    asyncio.run(work())


def test_take_waits_for_the_next_line() -> None:
    async def work() -> None:
        lines = Lines(Clock())
        follower = lines.follow()
        asyncio.get_running_loop().call_soon(lines.add, [line()])
        assert await follower.take(60.0) == (0, [line()])

    asyncio.run(work())


def test_follower_who_does_not_read_loses_the_oldest_and_is_told_how_many() -> None:
    async def work() -> None:
        slow, other = Follower(10), Follower(100)
        for follower in (slow, other):
            follower.put(many(25))
        assert await slow.take(0.0) == (15, many(25)[15:])
        assert await other.take(0.0) == (0, many(25))
        assert await slow.take(0.0) == (0, [])

    asyncio.run(work())


def test_add_of_a_flood_lets_so_many_through_and_counts_the_rest() -> None:
    clock = Clock()
    lines = Lines(clock)
    assert len(lines.add(many(BURST + 100), more=7)) == BURST
    clock.now += 1.0
    (told, *others) = lines.add([line("after")])
    assert (told.event, told.note) == ("left-out", "107 lines: there were too many")
    assert others == [line("after")]
    clock.now += 1.0
    assert len(lines.add(many(1000))) == 2 * RATE - 1


def test_follow_of_too_many_is_refused_until_one_leaves() -> None:
    lines = Lines(Clock())
    followers = [lines.follow() for _ in range(FOLLOWERS_MAX)]
    with pytest.raises(TooManyError):
        lines.follow()
    lines.leave(followers[0])
    lines.follow()


def test_unsaved_lines_are_bounded_and_those_that_were_not_written_come_first() -> None:
    clock = Clock()
    lines = Lines(clock)
    lines.add([line("first")])
    taken = lines.take_unsaved()
    lines.add([line("second")])
    lines.give_back(taken)
    assert lines.unsaved() == [line("first"), line("second")]
    for _ in range(UNSAVED_MAX // BURST + 2):
        clock.now += 1000.0
        lines.add(many(BURST))
    lines.give_back(many(10))
    assert len(lines.unsaved()) == UNSAVED_MAX
