"""The kernel fails the agent in each way that it has: closed, counted, and well again without a hand.

Needs the lab. Where a real kernel cannot be made to fail, `faulty_process.py` stands between it and the
agent's socket. What is looked at is the kernel's own set, after every answer.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab import Lab, wait_until
from tests.lab.faulty import FaultyAgent, faulty_agent
from tests.lab.needs import require_lab
from tests.lab.scenarios import fresh, fresh_address
from tests.lab.standing import clock
from tests.lab.waiting import in_time
from tests.netns.asking import PROMISED_WITHIN_S, Client, Told
from tests.netns.kernelsets import KernelSets

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.12"]
[lease]
grace = "1s"
[[rule]]
name = "web"
names = [".example.org"]
[[rule]]
name = "also"
names = ["*.example.org"]
ports = ["tcp/80"]
"""
RULES = ("web", "also")
REFUSALS = ("EPERM", "ENOMEM", "EBUSY", "ENFILE", "ERESTART", "EINTR")
UNSENT = ("ENOBUFS", "EMSGSIZE", "ENOMEM")
ACKNOWLEDGEMENTS = ("lost", "overrun", "stranger", "short", "garbled")
KEPT = "n1.example.org"
ANSWERED_WITHIN_S = 60.0  # patience; half a second when nobody else wants the processor


@dataclass
class Bed:
    agent: FaultyAgent
    client: Client
    sets: KernelSets
    next_name: int = 100

    def name(self) -> tuple[str, str]:
        """A name that was never asked, and its address."""
        self.next_name += 1
        return f"n{self.next_name}.example.org", fresh_address(self.next_name)

    def ask(self, name: str) -> Told:
        """The answer; it is never ahead of the kernel, nor told for longer than the lease (1, 2)."""
        asked = time.monotonic()
        told = self.client.ask(name)
        for rule in RULES:
            for address, ttl in told.addresses.items():
                left_s = self.sets.left_s(rule, address)
                assert left_s is not None, f"{address} of {name} was told and is not in {rule}"
                certain_s = asked + ttl - time.monotonic()  # the reply was made after its question
                assert left_s + 0.02 >= certain_s, f"{address}: {ttl} s told, {left_s} s left"
        assert told.rcode == "SERVFAIL" or told.addresses, told.message.to_text()
        return told

    def works(self) -> bool:
        """Whether a new name is answered, at the first try."""
        name, address = self.name()
        return address in self.ask(name).addresses

    def counted(self) -> int:
        """Transactions that were refused, for whatever reason."""
        found = re.findall(
            r'^dynallow_kernel_writes_total\{outcome="(?:refused|full)"\} (\d+)',
            self.agent.get("/metrics")[1],
            re.MULTILINE,
        )
        return sum(map(int, found))


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    require_lab()
    with Lab(web=False) as lab:
        lab.scripted(fresh)
        agent = faulty_agent(lab, SETTINGS)
        made = Bed(agent, Client(lab.host), KernelSets(lab.host))
        assert made.ask(KEPT).addresses
        yield made
        made.client.close()
        made.sets.close()


def _strikes(bed: Bed, kind: str, *, number: int = 0, lasts: bool = False) -> None:
    """The fault while a question is asked: closed and counted; then it goes: well again."""
    before = {rule: bed.sets.left_s(rule, fresh_address(1)) for rule in RULES}
    looked, counted, struck, logged = time.monotonic(), bed.counted(), bed.agent.struck, bed.agent.log
    name, address = bed.name()
    bed.agent.fault(kind, 1_000_000 if lasts else 1, number=number)
    told = bed.ask(name)  # and that is not ahead of the kernel: he may wait until it does well again
    assert told.rcode == "SERVFAIL" or not lasts
    assert bed.agent.struck[kind] > struck[kind]
    assert bed.counted() > counted
    assert "the kernel refused a lease" in bed.agent.log[len(logged) :]
    bed.agent.mend()
    wait_until(bed.works, "an answer after the fault", ANSWERED_WITHIN_S)
    assert address in bed.ask(name).addresses
    for rule, left_s in before.items():
        after = bed.sets.left_s(rule, fresh_address(1))
        assert left_s is not None
        assert after is not None
        assert after >= left_s - (time.monotonic() - looked) - 0.3  # only longer (3)
    assert "Traceback" not in bed.agent.log


@pytest.mark.parametrize("number", REFUSALS)
def test_transaction_that_the_kernel_refuses_is_closed_counted_and_recovers(bed: Bed, number: str) -> None:
    _strikes(bed, "refuse", number=getattr(errno, number))


@pytest.mark.parametrize("number", UNSENT)
def test_transaction_that_cannot_be_sent_is_closed_counted_and_recovers(bed: Bed, number: str) -> None:
    _strikes(bed, "unsent", number=getattr(errno, number))


@pytest.mark.parametrize("kind", ACKNOWLEDGEMENTS)
def test_acknowledgement_that_does_not_come_as_it_should_is_closed_counted_and_recovers(
    bed: Bed, kind: str
) -> None:
    _strikes(bed, kind)


@pytest.mark.parametrize(("kind", "number"), [("unsent", errno.EPERM), ("lost", 0)])
def test_fault_that_stays_is_closed_as_long_as_it_lasts_and_recovers(
    bed: Bed, kind: str, number: int
) -> None:
    _strikes(bed, kind, number=number, lasts=True)


@pytest.mark.parametrize("delay_s", [0.1, pytest.param(5.0, marks=pytest.mark.slow)])
def test_transaction_that_takes_long_is_waited_for_and_granted(bed: Bed, delay_s: float) -> None:
    """The loop stands still meanwhile, as with a busy kernel; nobody is told anything before it is done."""
    name, address = bed.name()
    bed.agent.fault("slow", 1, delay_s=delay_s)
    began = time.monotonic()
    assert address in bed.ask(name).addresses
    assert time.monotonic() - began >= delay_s
    assert bed.works()


@pytest.mark.parametrize("delay_s", [0.1, pytest.param(5.0, marks=pytest.mark.slow)])
def test_acknowledgement_that_comes_late_is_not_taken_for_another(bed: Bed, delay_s: float) -> None:
    """Each is for one transaction; the table is read back, and the late one must not be its end."""
    counted = bed.counted()
    name, address = bed.name()
    bed.agent.fault("late", 1, delay_s=delay_s)
    bed.ask(name)
    assert bed.counted() > counted
    # The late one is read some time after: every answer is looked at in the kernel's set.
    ends = time.monotonic() + delay_s + 0.2
    while time.monotonic() < ends:
        wait_until(bed.works, "an answer", ANSWERED_WITHIN_S)
    assert address in bed.ask(name).addresses


def test_fault_that_lasts_is_servfail_in_time_for_all_and_status_says_so(bed: Bed) -> None:
    """As long as the kernel refuses all, names are SERVFAIL within 4 s, and nobody waits for ever."""
    bed.agent.fault("refuse", number=errno.ENOMEM)
    name, _ = bed.name()
    assert bed.ask(name).rcode == "SERVFAIL"
    began = clock()
    told = bed.client.ask_all([bed.name()[0] for _ in range(50)])
    assert {one.rcode for one in told} == {"SERVFAIL"}
    took_s = clock() - began
    assert any("changed" in warning for warning in bed.agent.cli_json("status")["warnings"])
    bed.agent.mend()
    wait_until(bed.works, "an answer after the fault", ANSWERED_WITHIN_S)
    assert bed.ask(KEPT).addresses
    in_time(took_s, PROMISED_WITHIN_S, "SERVFAIL")
