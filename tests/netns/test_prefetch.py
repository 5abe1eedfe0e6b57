"""A name in use is asked for anew in the last tenth of its TTL: nobody waits, and its lease never lapses.

The upstream takes its time, longer than any answer here may take.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.lab import Lab, ScriptedServer, dnsbytes
from tests.lab.agent import Agent
from tests.lab.scenarios import fresh_address, slow
from tests.lab.standing import clock
from tests.lab.waiting import in_time
from tests.netns.asking import V4, V6, Client
from tests.netns.kernelsets import KernelSets

pytestmark = [pytest.mark.netns, pytest.mark.alone]

TTL_S, DELAY_S = 5, 0.4
NOT_WAITED_S = DELAY_S / 2
# As tight as leases get: one that is not prolonged in time is missed at once.
SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.12"]
stale = "0s"
[lease]
grace = "0s"
min = "1s"
[[rule]]
name = "all"
names = ["*.example.org"]
"""
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(shared_lab: Lab) -> ScriptedServer:
    return shared_lab.scripted(slow, ttl=TTL_S, delay_s=DELAY_S)


@pytest.fixture(scope="module")
def agent(shared_lab: Lab, server: ScriptedServer) -> Agent:
    return shared_lab.agent(SETTINGS)


@pytest.fixture
def client(shared_lab: Lab, agent: Agent) -> Iterator[Client]:
    with closing(Client(shared_lab.host)) as client:
        yield client


@pytest.mark.parametrize("lives", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_busy_name_never_waits_again_and_its_lease_never_lapses(
    shared_lab: Lab, server: ScriptedServer, client: Client, lives: int
) -> None:
    """Asked every few milliseconds, over UDP and TCP, A and AAAA, through `lives` ends of its TTL."""
    number = next(_numbers)
    busy, seldom = f"n{number}.example.org", f"n{next(_numbers)}.example.org"
    kinds = ((dnsbytes.A, fresh_address(number)), (dnsbytes.AAAA, fresh_address(number, 6)))
    told_s, asked, longest_s, stood_s = set[int](), 0, 0.0, 0.0
    for name, qtype in ((busy, dnsbytes.A), (busy, dnsbytes.AAAA), (seldom, dnsbytes.A)):
        assert client.ask(name, qtype).longest_ttl in (TTL_S, TTL_S - 1)
    began = time.monotonic()
    with closing(KernelSets(shared_lab.host)) as sets:
        while time.monotonic() < began + lives * TTL_S + 1:
            asked += 1
            qtype, address = kinds[asked // 6 % 2]
            before, going = time.monotonic(), clock()
            told = client.ask(busy, qtype, server=V6 if asked % 2 else V4, tcp=asked % 3 == 0)
            took = clock() - going
            left = sets.left_s("all", address)
            longest_s = max(longest_s, took)
            assert list(told.addresses) == [address]
            passed_s = time.monotonic() - before
            if left is None:
                in_time(passed_s, TTL_S / 2, "looking after the lease of an answer that had just come")
            assert left is not None, f"lapsed after {before - began:.2f} s"
            assert told.longest_ttl <= left + passed_s
            told_s.add(told.longest_ttl)
            time.sleep(0.01)  # the pace of the questions, no wait for anything
            stood_s += time.monotonic() - before - (clock() - going)
    in_time(longest_s, NOT_WAITED_S, "an answer")
    assert asked > 100 * lives
    assert max(told_s) >= TTL_S - 1  # it was young again
    assert min(server.queries(busy, kind) for kind in ("A", "AAAA")) >= 1 + lives
    if stood_s < TTL_S / 10:  # else it may have been asked twice, or after the end of one life more
        assert max(server.queries(busy, kind) for kind in ("A", "AAAA")) == 1 + lives
    # Whom nobody asked for in time is not kept alive: its next client waits, as everywhere.
    assert server.queries(seldom, "A") == 1
    before = time.monotonic()
    assert client.ask(seldom).rcode == "NOERROR"
    assert time.monotonic() - before >= DELAY_S
