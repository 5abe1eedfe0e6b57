"""A rule's end is noticed by the wall clock, whatever is done to that."""

from __future__ import annotations

import asyncio

from dynallow.errors import KernelError
from dynallow.expiries import Expiries
from dynallow.policy.rules import Rule

DAY = 86400.0


class Clock:
    """A wall clock that is set, and what was told."""

    def __init__(self) -> None:
        self.wall = 10 * DAY
        self.told: list[frozenset[str]] = []
        self.refuses = False

    def expire(self, rules: frozenset[str]) -> None:
        if self.refuses:
            raise KernelError("busy")
        self.told.append(rules)


def made(clock: Clock, *ends: float | None) -> Expiries:
    expiries = Expiries(clock.expire, lambda: clock.wall)
    rules = [Rule(index, f"rule-{index}", expires_at=end) for index, end in enumerate(ends)]
    expiries.follow(rules, clock.wall)
    return expiries


def test_look_tells_each_end_once_and_not_what_had_ended_before() -> None:
    clock = Clock()
    expiries = made(clock, 9 * DAY, 11 * DAY, 12 * DAY, None)
    expiries.look()
    assert clock.told == []
    clock.wall = 11 * DAY
    expiries.look()
    expiries.look()
    assert clock.told == [frozenset({"rule-1"})]


def test_look_after_the_clock_was_set_a_year_ahead_and_back_tells_again_when_it_comes() -> None:
    clock = Clock()
    expiries = made(clock, 11 * DAY)
    for wall in (375 * DAY, 10 * DAY, 11 * DAY):
        clock.wall = wall
        expiries.look()
    assert clock.told == [frozenset({"rule-0"})] * 2


def test_look_what_the_kernel_refused_is_told_again() -> None:
    clock = Clock()
    expiries = made(clock, 11 * DAY)
    clock.wall, clock.refuses = 12 * DAY, True
    expiries.look()
    clock.refuses = False
    expiries.look()
    assert clock.told == [frozenset({"rule-0"})]


def test_watch_without_a_rule_that_ends_never_wakes_up() -> None:
    async def work() -> bool:
        clock = Clock()
        watching = asyncio.ensure_future(made(clock, None).watch())
        for _ in range(5):
            await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        asleep = not [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
        watching.cancel()
        return asleep

    assert asyncio.run(work())
