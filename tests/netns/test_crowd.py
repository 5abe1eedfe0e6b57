"""A crowd of idle, slow and never-reading TCP clients and of UDP source ports (issue 4): the others' p99,
memory and descriptors.

Short here, in full with `-m slow`. The client whose latency counts asks a name
in use over UDP, at a steady pace; alone and beside the crowd by turns, because
the machine's own noise changes from second to second. Below `noise_s` both are
that: a process that is woken late, not one that is kept busy.
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

import pytest

from tests.lab import Lab, wait_until
from tests.lab.agent import Agent
from tests.lab.namespace import Namespace
from tests.netns.asking import Client, packet
from tests.netns.crowd_process import HOT, LARGE
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
        self._process.wait(10)
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


def p99_s(client: Client, seconds: float) -> float:
    """Of one question after the other, each PACE_S after the one before at the earliest."""
    taken = []
    ends = time.monotonic() + seconds
    while (began := time.monotonic()) < ends:
        client.udp(packet(HOT))
        taken.append(time.monotonic() - began)
        time.sleep(max(0.0, PACE_S - taken[-1]))  # the pace, no wait for anything
    return statistics.quantiles(taken, n=100)[98]


@pytest.mark.parametrize(
    ("count", "ports", "pace", "seconds", "noise_s"),
    [
        pytest.param(300, 3_000, 2_000, 1.5, 0.05, id="short"),
        pytest.param(1_000, 100_000, 4_000, 12.0, 0.002, id="full", marks=pytest.mark.slow),
    ],
)
def test_crowd_costs_the_others_little_and_the_agent_neither_memory_nor_descriptors(
    lab: Lab, agent: Agent, count: int, ports: int, pace: int, seconds: float, noise_s: float
) -> None:
    with closing(Client(lab.host)) as client:
        for name in (HOT, LARGE):
            assert client.ask(name).rcode == "NOERROR"
        before, found, memory = descriptors(agent), [], 0
        for _ in range(3):
            alone = p99_s(client, seconds)
            with many_descriptors(4096), closing(Crowd(lab.host, count, ports, pace)) as crowd:
                assert crowd.says("connected") == count
                beside = p99_s(client, seconds)
                assert crowd.says("answered") == ports
                memory = max(memory, agent.rss_bytes())
                during = descriptors(agent)
                cut = crowd.end()
            found.append((alone, beside))
            wait_until(lambda: descriptors(agent) <= before + 1, "descriptors given back", 15)
            if beside <= 2 * max(alone, noise_s):
                break
        print(f"p99 alone, beside: {found}; {memory >> 20} MiB, {during} descriptors, {cut} cut")
        alone, beside = found[-1]
        assert beside <= 2 * max(alone, noise_s), found
        assert memory < MEMORY_BYTES
        assert during <= before + 1024 + 64
        assert agent.process.poll() is None, agent.log
        assert "Traceback" not in agent.log, agent.log
