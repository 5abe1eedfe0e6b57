"""The steps' times: what is timed is done once, with what it was given, and comes out as it went in."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from dynallow.errors import KernelError
from dynallow.resolver.steps import BOUNDS, EVERY, Step
from tests.unit.resolver.host import DEB, ONE, Host, addresses, on_host, policy
from tests.unit.resolver.nameserver import Nameserver, silent, zone


class Clock:
    """Goes on by `step_s` with each look."""

    def __init__(self, step_s: float) -> None:
        self.now, self.step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now += self.step_s
        return self.now


def measured(step: Step) -> int:
    return sum(step.buckets)


def test_note_counts_in_the_first_bucket_that_holds_it() -> None:
    step = Step()
    for seconds in (0.0, BOUNDS[0], 0.003, 100.0):
        step.note(seconds)
    assert step.buckets[0] == 2
    assert step.buckets[BOUNDS.index(0.005)] == 1
    assert step.buckets[-1] == 1
    assert step.seconds == pytest.approx(100.003 + BOUNDS[0])
    assert list(BOUNDS) == sorted(set(BOUNDS))
    assert len(step.buckets) == len(BOUNDS) + 1


def test_of_times_the_first_call_and_then_one_in_seventeen() -> None:
    step, seen = Step(Clock(0.001)), []
    for number in range(EVERY * 2 + 1):
        assert step.of(lambda value: seen.append(value) or value)(number) == number  # type: ignore[func-returns-value]
    assert seen == list(range(EVERY * 2 + 1))
    assert measured(step) == step.buckets[BOUNDS.index(0.001)] == 3


def test_of_what_is_not_timed_is_the_work_itself() -> None:
    step = Step()
    step.of(len)
    assert step.of(len) is len


def test_of_work_that_fails_fails_all_the_same_and_is_timed() -> None:
    step = Step(Clock(0.001))

    def fail() -> None:
        raise KernelError("no")

    with pytest.raises(KernelError, match="no"):
        step.of(fail)()
    assert measured(step) == 1


def test_waiting_is_timed_until_it_ends_and_from_when_it_was_said_to_begin() -> None:
    clock = Clock(0.0)
    step = Step(clock)

    async def work(value: int) -> int:
        clock.now += 0.3
        return value

    assert asyncio.run(step.waiting(work, clock.now - 0.15)(5)) == 5
    assert step.seconds == pytest.approx(0.45)


def test_waiting_for_what_is_cancelled_is_timed() -> None:
    step = Step(Clock(0.001))

    async def run() -> None:
        async def work() -> None:
            await asyncio.sleep(3600)

        task = asyncio.ensure_future(step.waiting(work)())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert measured(step) == 1


def test_answers_are_counted_by_rule_and_where_they_came_from() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask()
        await host.ask()
        host.pass_time(301)
        server.handler = silent
        server.tcp_is_silent = True
        await host.ask()
        assert host.road.steps.allowed() == {("web", "upstream"): 1, ("web", "cache"): 1, ("web", "stale"): 1}
        assert not host.road.steps.denied

    on_host(work)


def test_question_that_fails_is_counted_as_failed_under_its_rule() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        host.gate.error = KernelError("full")
        await host.ask()
        assert host.road.steps.allowed() == {("web", "failed"): 1}

    on_host(work)


def test_denied_name_in_mode_observe_is_counted_as_denied_without_a_rule() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask("other.example.net")
        assert list(host.road.steps.denied) == [("", "upstream")]
        assert not host.road.steps.allowed()

    on_host(work, zone("other.example.net 300 IN A 192.0.2.9"), observe=True)


def test_every_step_of_a_fresh_question_is_timed() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask()
        steps = host.road.steps
        assert [measured(step) for step in (steps.upstream, steps.compose, steps.kernel, steps.reply)] == [
            1
        ] * 4

    on_host(work)


def test_addresses_without_room_are_counted_under_their_rule() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        host.gate.refuse = frozenset({ONE})
        await host.ask()
        assert host.road.steps.trimmed == {"web": 1}

    on_host(work)


def test_rules_keep_their_counts_over_a_reload_that_numbers_them_anew() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask()
        terms = host.road.terms
        host.road.change(replace(terms, policy=policy(first="other.example.org", web=DEB)))
        host.road.forget()
        await host.ask()
        assert host.road.steps.allowed() == {("web", "upstream"): 2}

    on_host(work)


def test_flight_is_timed_one_time_in_many_and_then_goes_as_it_would_have_gone() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        steps = host.road.steps
        for number in range(EVERY + 1):
            host.road.forget()
            assert len(addresses(await host.ask())) == 2, number
        assert [measured(step) for step in (steps.upstream, steps.compose, steps.kernel)] == [2] * 3

    on_host(work)
