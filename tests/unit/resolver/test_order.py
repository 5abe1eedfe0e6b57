"""Who is asked first: health and latency as numbers, no sockets."""

from __future__ import annotations

import math
from ipaddress import ip_address

import pytest

from dynallow.resolver.upstream.order import Group
from dynallow.resolver.upstream.server import Server
from dynallow.units import Endpoint


def servers(*latencies_s: float | None) -> list[Server]:
    """Servers at ports 1, 2, …, each with this latency measured."""
    made = [Server(Endpoint(ip_address("127.0.0.1"), 1 + at)) for at in range(len(latencies_s))]
    for server, latency_s in zip(made, latencies_s, strict=True):
        measure(server, latency_s, 4)
    return made


def measure(server: Server, latency_s: float | None, times: int) -> None:
    for _ in range(times if latency_s is not None else 0):
        server.succeeded(latency_s or 0.0)


def ports(group: Group, now: float) -> list[int]:
    return [server.endpoint.port for server in group.tries(now)]


def usual(group: Group, now: float) -> list[int]:
    """The order without the one question that measures another."""
    return ports(group, now) and ports(group, now)


# ---------------------------------------------------------------- order


@pytest.mark.parametrize(
    ("latencies_s", "expected"),
    [
        ((None, None), [1, 2, 1]),
        ((0.2, None), [1, 2, 1]),  # nothing to compare with
        ((0.2, 0.1), [1, 2, 1]),  # slower, not clearly
        ((0.015, 0.0005), [1, 2, 1]),  # thirty times as slow, and nobody notices
        ((0.2, 0.05), [2, 1, 2]),
        ((0.05, 0.2), [1, 2, 1]),
        ((0.2, 0.05, 0.01), [3, 1, 2]),
        ((0.2, 0.02, 0.01), [2, 3, 1]),
        ((0.001,), [1, 1, 1]),
        ((None, None, None, None), [1, 2, 3]),
        ((), []),
    ],
)
def test_tries_are_as_configured_but_for_who_is_clearly_slower(
    latencies_s: tuple[float | None, ...], expected: list[int]
) -> None:
    assert usual(Group(servers(*latencies_s)), 100.0) == expected


def test_tries_who_is_down_is_last_however_fast_and_first_again_when_back() -> None:
    made = servers(0.001, 0.002, 0.5)
    group = Group(made)
    assert ports(group, 100.0) == [1, 2, 3]
    made[0].fell_short(100.0, 100.1, "silent")
    group.changed()
    assert usual(group, 100.1) == [2, 3, 1]
    made[0].came_back(100.2)
    group.changed()
    assert usual(group, 100.2) == [1, 2, 3]


def test_tries_all_down_are_as_configured() -> None:
    made = servers(0.5, 0.1)
    for server in made:
        server.fell_short(1.0, 2.0, "silent")
    assert ports(Group(made), 3.0) == [1, 2, 1]


def test_tries_one_or_few_answers_measure_nothing() -> None:
    made = servers(0.2, None)
    measure(made[1], 0.001, 3)
    assert usual(Group(made), 1.0) == [1, 2, 1]
    measure(made[1], 0.001, 1)
    assert usual(Group(made), 1.0) == [2, 1, 2]


def test_tries_slow_first_server_leaves_one_question_in_ten_seconds_to_another() -> None:
    group = Group(servers(0.1, None, None))
    first = [ports(group, 100.0 + tenth / 10)[0] for tenth in range(400)]
    assert [first.count(port) for port in (1, 2, 3)] == [396, 2, 2]


def test_tries_fast_first_server_leaves_none_to_others() -> None:
    group = Group(servers(0.01, None))
    assert {ports(group, float(second))[0] for second in range(100)} == {1}


def test_tries_server_that_has_become_fast_is_measured_and_first_again() -> None:
    made = servers(0.3, 0.01)
    group = Group(made)
    seconds = 0
    while usual(group, float(seconds)) != [1, 2, 1]:
        seconds += 1
        assert seconds < 600
        first = group.tries(float(seconds))[0]
        first.succeeded(0.01)
    assert seconds > 10


# ---------------------------------------------------------------- outages


def test_outage_in_which_many_questions_fail_counts_once() -> None:
    (server,) = servers(0.01)
    begun = [server.fell_short(10.0, 10.4 + at / 1000, "silent") for at in range(100)]
    assert begun == [True] + [False] * 99
    assert (server.failed, server.strikes, server.up, server.rest_until) == (100, 1, False, 0.0)


def test_question_that_was_asked_before_the_server_came_back_is_no_new_outage() -> None:
    (server,) = servers(0.01)
    server.fell_short(10.0, 10.4, "silent")
    server.came_back(10.6)
    assert not server.fell_short(10.2, 10.7, "silent")
    assert (server.up, server.strikes, server.failed) == (True, 1, 2)
    assert server.fell_short(10.65, 11.0, "silent")


def test_server_that_is_there_and_fails_every_question_rests_longer_each_time() -> None:
    (server,) = servers(0.01)
    now, rests = 100.0, []
    for _ in range(8):
        assert server.fell_short(now, now, "rcode 2")
        rests.append(max(server.rest_until - now, 0.0))
        now += 100.0
        server.came_back(now)
    assert rests == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert server.up
    assert not server.healthy
    server.succeeded(0.01)
    assert server.healthy
    assert server.fell_short(now, now, "rcode 2")
    assert server.rest_until == 0.0


@pytest.mark.parametrize(
    ("latency_s", "expected_s"), [(None, 0.4), (0.01, 0.4), (0.06, 0.48), (0.1, 0.6), (5.0, 0.6)]
)
def test_patience_while_another_is_up_follows_latency_and_is_less_than_a_second(
    latency_s: float | None, expected_s: float
) -> None:
    assert math.isclose(servers(latency_s)[0].soon_s, expected_s)
