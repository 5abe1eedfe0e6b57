"""Upstreams over TLS and HTTPS that die and come back, as `test_upstream_choice.py` has it for datagrams.

A server dies in two ways: its process is gone and the kernel says so on every connection, or it
is stopped and its connections stay open without a word.
"""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.lab import Lab, wait_until
from tests.lab.agent import Agent
from tests.lab.certificates import Certificates
from tests.lab.needs import require_lab
from tests.lab.scenarios import fresh_address
from tests.lab.standing import clock
from tests.lab.streamed import Streamed, StreamedServers
from tests.lab.unbound import HTTPS_PORT
from tests.lab.waiting import in_time
from tests.netns.asking import Client, ede_of

pytestmark = [pytest.mark.netns, pytest.mark.alone]

TLS = "tls://10.10.0.14#dns.example.org"
HTTPS = f"https://dns.example.org:{HTTPS_PORT}/dns-query#10.10.0.15"
SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["%s", "%s"]
[[rule]]
name = "fresh"
names = [".example.org"]
"""
WAITS_S = 0.35  # longer than any answer of a server that is there
_numbers = itertools.count(1)
_PATIENCE_S = 30.0


class Bed:
    """A server of each kind in a process of its own, and the agent that asks them."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        certificates = Certificates(lab.authority)
        self._listens = {
            TLS: Streamed("10.10.0.14", 853, shown=certificates.good),
            HTTPS: Streamed("10.10.0.15", HTTPS_PORT, shown=certificates.good, http=True),
        }
        self.servers = {way: self._start(way) for way in self._listens}
        trust = {"SSL_CERT_FILE": str(certificates.trusted)}
        self._agent = lab.agent(SETTINGS % (TLS, HTTPS), env=trust)
        self.client = Client(lab.host)

    def _start(self, way: str) -> StreamedServers:
        server = StreamedServers(self._lab.internet, [self._listens[way]])
        self._lab.cleanup(server.stop)
        server.wait_ready()
        return server

    def agent(self, first: str, second: str) -> Agent:
        """The agent with these upstreams, its opinions of them forgotten."""
        ran = self._agent.reload(SETTINGS % (first, second))
        assert ran.returncode == 0, ran
        return self._agent

    def upstreams(self) -> list[dict[str, Any]]:
        # Not by the command: what a process takes to start would count as the agent's.
        found: list[dict[str, Any]] = json.loads(self._agent.get(timeout=_PATIENCE_S)[1])["upstreams"]
        return found

    def wait_for(self, *wanted: tuple[str, bool]) -> None:
        """Until the agent thinks so of its upstreams: of one that stood still it may have thought ill."""
        wait_until(
            lambda: [(each["upstream"], each["healthy"]) for each in self.upstreams()] == [*wanted],
            f"{wanted}",
        )

    def ask(self) -> float:
        """Fails unless a fresh name is answered rightly; how long that took, in seconds."""
        number, began = next(_numbers), clock()
        told = self.client.ask(f"n{number}.example.org", within_s=_PATIENCE_S)
        assert list(told.addresses) == [fresh_address(number)], told
        return clock() - began

    def ask_until(self, met: Callable[[], bool]) -> list[float]:
        """One after the other until it is met."""
        began, took = clock(), [self.ask()]
        while not met():
            assert clock() - began < _PATIENCE_S, took
            took.append(self.ask())
        return took

    def ask_for(self, seconds: float) -> list[float]:
        ends = clock() + seconds
        return self.ask_until(lambda: clock() >= ends)

    def end(self, way: str, how: str) -> Callable[[], None]:
        """What is returned brings it back."""
        server = self.servers[way]
        if how == "stopped":
            server.process.send_signal(signal.SIGSTOP)
            return lambda: server.process.send_signal(signal.SIGCONT)
        server.stop()

        def start() -> None:
            self.servers[way] = self._start(way)

        return start


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    require_lab()
    with Lab() as lab:
        bed = Bed(lab)
        with closing(bed.client):
            yield bed


@pytest.mark.parametrize(
    ("first", "second", "how"),
    [
        pytest.param(TLS, HTTPS, "stopped", id="tls-stopped"),
        pytest.param(HTTPS, TLS, "gone", id="https-gone"),
        pytest.param(TLS, HTTPS, "gone", id="tls-gone", marks=pytest.mark.slow),
        pytest.param(HTTPS, TLS, "stopped", id="https-stopped", marks=pytest.mark.slow),
    ],
)
def test_one_of_two_dies_none_waits_a_second_and_after_the_first_none_at_all(
    bed: Bed, first: str, second: str, how: str
) -> None:
    bed.agent(first, second)
    assert bed.ask_for(0.3)
    bed.wait_for((first, True), (second, True))
    revive = bed.end(first, how)
    took = bed.ask_for(1.5)
    bed.wait_for((first, False), (second, True))
    dead, other = bed.upstreams()
    assert dead["failed"] >= 1
    assert dead["last_error"]
    assert other["asked"] - other["failed"] >= len(took)

    revive()
    back, answered = clock(), dead["asked"]
    meanwhile = bed.ask_until(lambda: bed.upstreams()[0]["asked"] > answered)
    back_s = clock() - back
    in_time(max(took), 1.0, "the first question after the death")
    in_time(max(took[1:]), WAITS_S, "a later question")
    in_time(back_s, 2.0, "the return")
    in_time(max(meanwhile), WAITS_S, "a question meanwhile")


def test_both_dead_is_servfail_that_says_so_within_4_s_and_over_within_2_s(bed: Bed) -> None:
    bed.agent(TLS, HTTPS)
    bed.ask()
    revive = [bed.end(way, "stopped") for way in (TLS, HTTPS)]
    try:
        began = clock()
        told = bed.client.ask("n999999.example.org", within_s=_PATIENCE_S)
        told_s = clock() - began
        assert told.rcode == "SERVFAIL"
        assert {code for code, _ in ede_of(told)} & {22, 23}
        assert not any(each["healthy"] for each in bed.upstreams())
    finally:
        for each in revive:
            each()
    back = clock()
    bed.ask()
    in_time(clock() - back, 2.0, "the return")
    in_time(told_s, 4.0, "SERVFAIL")
