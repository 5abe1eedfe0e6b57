"""A crowd of idle, slow and never-reading TCP clients and of UDP source ports (issue 4): the others' p99,
memory and descriptors.

Short here, in full with `-m slow`. The clients whose latency counts ask a name
in use at a steady pace, one over UDP and one over a TCP connection; alone and beside
the crowd by turns, because the machine's own noise changes from second to second:
the full version takes the median of what the crowd multiplies them by. Below `noise_s` both are
that: a process that is woken late, not one that is kept busy. And so that it is the agent's work that
is measured, not how the kernel shares two cores among the crowd's own programs and other guests, agent
and measuring client are scheduled before them (SCHED_RR).
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

import pytest

from tests.lab import Lab, wait_until
from tests.lab.agent import OPENED_LATER, Agent
from tests.lab.namespace import Namespace
from tests.lab.standing import clock
from tests.lab.waiting import in_time
from tests.netns.asking import Client, packet, read_frame
from tests.netns.crowd_process import HOT, LARGE, frame
from tests.netns.manyfold import manyfold

pytestmark = [pytest.mark.netns, pytest.mark.alone]

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.12"]
[[rule]]
name = "listed"
names = ["*.example.org"]
"""
MEMORY_BYTES = 256 << 20
PACE_S = 0.004


@pytest.fixture
def agent(lab: Lab) -> Agent:
    lab.scripted(manyfold)
    return lab.agent(SETTINGS)


class Crowd:
    """`crowd_process`, seen from here."""

    def __init__(self, host: Namespace, count: int, ports: int, pace: int) -> None:
        words = [str(count), str(ports), str(pace)]
        self._process = host.popen(
            [sys.executable, "-m", "tests.netns.crowd_process", *words], stdin=subprocess.PIPE
        )

    def says(self, what: str) -> int:
        """The next line, which must be of this kind."""
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline())
        return int(told[what])

    def end(self) -> int:
        """How many of its connections were cut."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self.says("cut")

    def close(self) -> None:
        self._process.kill()
        self._process.wait(60)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def many_descriptors(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def descriptors(agent: Agent) -> int:
    return len(os.listdir(f"/proc/{agent.process.pid}/fd"))


@contextmanager
def scheduled_first(agent: Agent) -> Iterator[None]:
    """The agent's threads and this one, before all that is not real-time."""
    threads = [int(each) for each in os.listdir(f"/proc/{agent.process.pid}/task")]
    first, usual = os.sched_param(os.sched_get_priority_min(os.SCHED_RR)), os.sched_param(0)
    for thread in (*threads, 0):
        os.sched_setscheduler(thread, os.SCHED_RR | os.SCHED_RESET_ON_FORK, first)
    yield
    os.sched_setscheduler(0, os.SCHED_OTHER, usual)


class Latency(NamedTuple):
    """Seconds that 99 of 100 answers are faster than."""

    udp: float
    tcp: float


def p99_s(client: Client, seconds: float) -> Latency:
    """Of one question after the other, over UDP and TCP in turn, PACE_S between them at the least."""
    taken: tuple[list[float], list[float]] = ([], [])
    question = packet(HOT)
    ends = clock() + seconds
    with client.connect() as tcp:
        while (began := clock()) < ends:
            client.udp(question)
            over_udp = clock()
            tcp.sendall(frame(question))
            assert read_frame(tcp)[:2] == question[:2]
            over_tcp = clock()
            taken[0].append(over_udp - began)
            taken[1].append(over_tcp - over_udp)
            time.sleep(max(0.0, PACE_S - over_tcp + began))  # the pace, no wait for anything
    return Latency(*(statistics.quantiles(each, n=100)[98] for each in taken))


class Round(NamedTuple):
    """What one crowd cost."""

    alone: Latency
    beside: Latency

    def ratios(self, noise_s: float) -> tuple[float, float]:
        """By how much the p99 grew, over UDP and over TCP; 1 where it is noise all the same."""
        udp, tcp = (b / max(a, noise_s) for a, b in zip(self.alone, self.beside, strict=True))
        return udp, tcp


@pytest.mark.parametrize(
    ("count", "ports", "pace", "seconds", "rounds", "noise_s"),
    [
        pytest.param(300, 3_000, 2_000, 1.5, 1, 0.05, id="short"),
        pytest.param(1_000, 100_000, 4_000, 12.0, 5, 0.002, id="full", marks=pytest.mark.slow),
    ],
)
def test_crowd_costs_the_others_little_and_the_agent_neither_memory_nor_descriptors(
    lab: Lab, agent: Agent, count: int, ports: int, pace: int, seconds: float, rounds: int, noise_s: float
) -> None:
    with closing(Client(lab.host)) as client, scheduled_first(agent):
        for name in (HOT, LARGE):
            assert client.ask(name).rcode == "NOERROR"
        before, found, memory = descriptors(agent), list[Round](), 0
        for _ in range(rounds):
            alone = p99_s(client, seconds)
            with many_descriptors(4096), closing(Crowd(lab.host, count, ports, pace)) as crowd:
                assert crowd.says("connected") == count
                beside = p99_s(client, seconds)
                assert crowd.says("answered") == ports
                memory = max(memory, agent.rss_bytes())
                during = descriptors(agent)
                cut = crowd.end()
            found.append(Round(alone, beside))
            wait_until(lambda: descriptors(agent) <= before + OPENED_LATER, "descriptors given back")
            print("p99 in ms alone, beside:", *(f"{each * 1e3:.1f}" for part in found[-1] for each in part))
        print(f"{memory >> 20} MiB, {during} descriptors, {cut} cut")
        for ratios in zip(*(one.ratios(noise_s) for one in found), strict=True):
            in_time(statistics.median(ratios), 2, f"p99 beside the crowd, in times that of {found}")
        assert memory < MEMORY_BYTES
        assert during <= before + 1024 + 64
        assert agent.process.poll() is None, agent.log
        assert "Traceback" not in agent.log, agent.log
