"""Upstreams that die and come back while questions run: who waits, and for how long (all real).

A server dies in two ways: its process is gone (the kernel says so), or it says nothing.
"""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from tests.lab import Lab, ScriptedServer, wait_until
from tests.lab.agent import Agent
from tests.lab.scenarios import fresh, fresh_address
from tests.lab.standing import clock
from tests.lab.waiting import in_time
from tests.netns.asking import Client

pytestmark = [pytest.mark.netns, pytest.mark.alone]

FIRST, SECOND = "10.10.0.12", "10.10.0.11"
SETTINGS = """
mode = "enforce"
[resolver]
upstreams = [%s]
[[rule]]
name = "fresh"
names = [".example.org"]
"""
NETWORK_ERRORS = {22, 23}
STALE_TTL_S = 30  # RFC 8767 section 5.2
_EDE = 15
_PATIENCE_S = 30.0
_numbers = itertools.count(1)


class Asked(NamedTuple):
    """One question: when, whether it had its answer, and after how long."""

    at: float
    right: bool
    took_s: float
    codes: frozenset[int]


class Bed:
    """Two servers and the agent that asks them."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.first, self.second = self._start(FIRST), self._start(SECOND)
        self._agent = lab.agent(SETTINGS % f'"{FIRST}", "{SECOND}"')
        self.client = Client(lab.host)

    def _start(self, address: str) -> ScriptedServer:
        return self._lab.scripted(fresh, addresses=[address])

    def agent(self, *servers: str) -> Agent:
        """The agent with these upstreams, its opinions of them forgotten."""
        self._agent.reload(SETTINGS % ", ".join(f'"{server}"' for server in servers))
        return self._agent

    def upstreams(self) -> list[dict[str, Any]]:
        # Not by the command: what a process takes to start would count as the agent's.
        found: list[dict[str, Any]] = json.loads(self._agent.get(timeout=_PATIENCE_S)[1])["upstreams"]
        return found

    def wait_for(self, *healthy: bool) -> None:
        """Until the agent thinks so of its upstreams: of one that stood still it may have thought ill."""
        wait_until(lambda: [each["healthy"] for each in self.upstreams()] == [*healthy], f"{healthy}")

    def ask(self) -> Asked:
        number = next(_numbers)
        began = clock()
        told = self.client.ask(f"n{number}.example.org", within_s=_PATIENCE_S)
        codes = (int(option.code) for option in told.message.options if option.otype == _EDE)
        right = list(told.addresses) == [fresh_address(number)]
        return Asked(began, right, clock() - began, frozenset(codes))

    def ask_until(self, met: Callable[[], bool]) -> list[Asked]:
        """One after the other until it is met."""
        began = clock()
        asked = [self.ask()]
        while not met():
            assert clock() - began < _PATIENCE_S, asked[-1]
            asked.append(self.ask())
        return asked

    def ask_for(self, seconds: float) -> list[Asked]:
        end = clock() + seconds
        return self.ask_until(lambda: clock() >= end)

    def kill(self) -> Callable[[], None]:
        """The first server's process is gone; what is returned starts another."""
        self.first.stop()

        def revive() -> None:
            self.first = self._start(FIRST)

        return revive

    def silence(self) -> Callable[[], None]:
        """The first server says nothing; what is returned ends that."""
        self.first.process.send_signal(signal.SIGSTOP)
        return lambda: self.first.process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def bed(shared_lab: Lab) -> Iterator[Bed]:
    bed = Bed(shared_lab)
    yield bed
    bed.client.close()


@pytest.mark.parametrize("way", ["kill", "silence"])
def test_one_of_two_dies_every_question_is_answered_and_only_the_first_waits(bed: Bed, way: str) -> None:
    bed.agent(FIRST, SECOND)
    assert all(one.right for one in bed.ask_for(0.5))
    bed.wait_for(True, True)
    before = bed.second.queries(rtype="A")
    revive = bed.kill() if way == "kill" else bed.silence()
    died = clock()
    asked = bed.ask_for(3.0)
    assert all(one.right for one in asked)
    longest_s = max(one.took_s for one in asked)
    late_s = sorted(one.took_s for one in asked if one.at > died + 1.0)[-2]
    assert bed.second.queries(rtype="A") - before >= len(asked)
    bed.wait_for(False, True)

    revive()
    back, answered = clock(), bed.upstreams()[0]["asked"]
    asked = bed.ask_until(lambda: bed.upstreams()[0]["healthy"])
    assert bed.first.queries(rtype="PTR") > 0
    asked += bed.ask_until(lambda: bed.upstreams()[0]["asked"] > answered)
    back_s = clock() - back
    assert all(one.right for one in asked)
    in_time(longest_s, 1.0, "the first question after the death")  # 0.4 s where nothing else is to do
    in_time(late_s, 0.35, "a later question")
    in_time(back_s, 2.0, "the return")
    in_time(sorted(one.took_s for one in asked)[-2], 0.35, "a question meanwhile")


def test_all_dead_is_servfail_that_says_so_within_4_s_and_over_within_2_s(bed: Bed) -> None:
    bed.agent(FIRST, SECOND)
    bed.second.process.send_signal(signal.SIGSTOP)
    revive = bed.silence()
    try:
        asked = [bed.ask() for _ in range(2)]
    finally:
        bed.second.process.send_signal(signal.SIGCONT)
        back = clock()
    try:
        for one in asked:
            assert not one.right
            assert one.codes & NETWORK_ERRORS
        (first,) = bed.ask_until(lambda: True)
        back_s = clock() - back
        assert first.right
    finally:
        revive()
    in_time(max(one.took_s for one in asked), 4.0, "SERVFAIL")
    in_time(back_s, 2.0, "the return")


def test_all_dead_what_was_answered_before_is_told_from_expired_data_within_4_s(bed: Bed) -> None:
    bed.agent(FIRST, SECOND)
    for server in (bed.first, bed.second):
        server.turn(ttl=1)
    name = f"n{next(_numbers)}.example.org"
    addresses = list(bed.client.ask(name).addresses)
    bed.second.process.send_signal(signal.SIGSTOP)
    revive = bed.silence()
    try:
        ends, longest_s = clock() + _PATIENCE_S, 0.0
        while True:  # the first may still be of the second that it had left
            began = clock()
            told = bed.client.ask(name, within_s=_PATIENCE_S)
            longest_s = max(longest_s, clock() - began)
            assert list(told.addresses) == addresses
            if told.longest_ttl > 1:
                break
            assert clock() < ends, told
        in_time(longest_s, 4.0)
        assert STALE_TTL_S - 1 <= told.longest_ttl <= STALE_TTL_S
    finally:
        bed.second.process.send_signal(signal.SIGCONT)
        revive()
        for server in (bed.first, bed.second):
            server.turn(ttl=300)


def test_sole_server_that_comes_back_is_asked_again_within_2_s(bed: Bed) -> None:
    bed.agent(FIRST)
    assert bed.ask().right
    revive = bed.silence()
    assert not bed.ask().right
    assert not bed.upstreams()[0]["healthy"]
    revive()
    back = clock()
    wait_until(
        lambda: bool(bed.upstreams()[0]["healthy"]), "the probe to find it", _PATIENCE_S
    )  # nobody asks
    back_s = clock() - back
    assert bed.ask().right
    in_time(back_s, 2.0, "the return")
