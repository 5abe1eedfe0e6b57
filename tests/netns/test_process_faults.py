"""What can befall the agent's process: no descriptors, no capability, no disk, a wrong clock, a standstill.

Needs the lab. Real faults, all but the wall clock, which `faulty_process.py` sets for the agent alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import Lab, ScriptedServer, wait_until
from tests.lab.agent import OPENED_LATER, Agent
from tests.lab.faulty import FaultyAgent, faulty_agent, lowest_free
from tests.lab.needs import require_lab
from tests.lab.standing import clock
from tests.lab.waiting import in_time
from tests.netns.asking import PROMISED_WITHIN_S, Client, Told, packet, read, read_frame
from tests.netns.kernelsets import KernelSets
from tests.netns.lasting import lasting, read_name

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.12"]
[lease]
grace = "1s"
min = "1s"
[[rule]]
name = "web"
names = [".example.org"]
[[rule]]
name = "until"
names = ["*.c1.example.org"]
ports = ["tcp/80"]
expires = %s
"""
EXIT_SETTINGS = 3
YEAR_S = 366 * 86400.0
NEVER = "9999-12-31"
RECOVERED_WITHIN_S = 30.0  # patience; half a second when nobody else wants the processor
# Somebody else's rule on loopback: replies do not leave the agent's socket.
MUTE = "table inet other { chain output { type filter hook output priority -10; udp sport 53 drop; }; }"


@dataclass
class Bed:
    lab: Lab
    agent: FaultyAgent
    server: ScriptedServer
    client: Client
    sets: KernelSets
    next_name: int = 0

    def name(self, ttl: int = 300) -> str:
        """A name that was never asked."""
        self.next_name += 1
        return f"a{self.next_name}.t{ttl}.c0.example.org"

    def check(self, name: str, told: Told, since: float) -> Told:
        """What was told is in the kernel's set, for as long (1, 2). The reply was made `since` or later."""
        for address, ttl in told.addresses.items():
            left_s = self.sets.left_s("web", address) or 0.0
            certain_s = since + ttl - time.monotonic()
            assert left_s + 0.02 >= certain_s, f"{address} of {name}: {ttl} s told, {left_s} s left"
        return told

    def ask(self, name: str) -> Told:
        since = time.monotonic()
        return self.check(name, self.client.ask(name), since)

    def works(self) -> bool:
        """Whether a new name is answered, at the first try, over UDP and TCP."""
        name = self.name()
        return bool(self.ask(name).addresses and self.client.ask(name, tcp=True).addresses)

    def recovers(self) -> None:
        """All works, without a hand."""
        wait_until(self.works, "an answer after the fault", RECOVERED_WITHIN_S)

    def count(self, outcome: str) -> int:
        found = re.search(rf'questions_total{{outcome="{outcome}"}} (\d+)', self.agent.get("/metrics")[1])
        assert found is not None
        return int(found[1])


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    require_lab()
    with Lab(web=False) as lab:
        server = lab.scripted(lasting)
        agent = faulty_agent(lab, SETTINGS % NEVER)
        made = Bed(lab, agent, server, Client(lab.host), KernelSets(lab.host))
        yield made
        made.client.close()
        made.sets.close()


@pytest.fixture(autouse=True)
def _no_exception_unhandled(bed: Bed) -> Iterator[None]:
    yield
    assert "Traceback" not in bed.agent.log


# ---------------------------------------------------------------- descriptors


@contextlib.contextmanager
def no_descriptors(bed: Bed, known: str) -> Iterator[tuple[int, int]]:
    """None is to be had beyond those that the agent has; gives the limit as it was."""
    pid = bed.agent.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    for _ in range(5):  # one that was still open at the first look may have been closed since,
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free(pid), before[1]))
        assert bed.ask(known).addresses  # by an agent that has come to it
        time.sleep(0.02)
    try:
        yield before
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def test_descriptor_limit_is_servfail_for_new_names_alone_counted_and_recovers(bed: Bed) -> None:
    known = bed.name()
    assert bed.ask(known).addresses
    before, descriptors = bed.count("servfail"), len(os.listdir(f"/proc/{bed.agent.process.pid}/fd"))
    with no_descriptors(bed, known) as limit:
        began = clock()
        assert bed.ask(bed.name()).rcode == "SERVFAIL"
        took_s = clock() - began
        assert bed.ask(known).addresses  # what needs no socket is answered
        assert bed.ask("denied.example.com").rcode == "NXDOMAIN"
        with bed.client.connect(within_s=2.0) as waiting:  # in the line: nobody can accept it
            data = packet(known)
            waiting.sendall(len(data).to_bytes(2) + data)
            wait_until(lambda: "a client cannot be taken" in bed.agent.log, "a word of it")
            assert bed.ask(known).addresses
            resource.prlimit(bed.agent.process.pid, resource.RLIMIT_NOFILE, limit)
            waiting.settimeout(60.0)
            assert read(read_frame(waiting)).addresses  # he was in the line, and is answered after it
    bed.recovers()
    assert bed.count("servfail") > before
    assert bed.count("tcp_kept_waiting") > 0
    wait_until(
        lambda: len(os.listdir(f"/proc/{bed.agent.process.pid}/fd")) <= descriptors + OPENED_LATER,
        "descriptors given back",
    )
    in_time(took_s, PROMISED_WITHIN_S, "SERVFAIL")


# ---------------------------------------------------------------- privilege


def test_capability_taken_away_is_closed_counted_and_recovers(bed: Bed) -> None:
    known = bed.name()
    assert bed.ask(known).addresses
    before = bed.count("servfail")
    bed.agent.privileged(False)
    try:
        assert bed.ask(bed.name()).rcode == "SERVFAIL"
        told = bed.ask(known)
        assert told.addresses or told.rcode == "SERVFAIL"
        assert bed.count("servfail") > before
    finally:
        bed.agent.privileged(True)
    bed.recovers()
    assert bed.ask(known).addresses


# ---------------------------------------------------------------- replies


def test_replies_that_cannot_be_sent_are_counted_and_asked_for_again(bed: Bed) -> None:
    name = bed.name()
    assert bed.ask(name).addresses
    before = bed.count("unsent")
    bed.lab.host.run(["nft", "-f", "-"], stdin=MUTE)
    try:
        for asked in (name, bed.name(), "denied.example.com"):
            bed.client._udp["127.0.0.1"].send(packet(asked))
        wait_until(lambda: bed.count("unsent") >= before + 3, "replies that were not sent")
    finally:
        bed.lab.host.run(["nft", "delete", "table", "inet", "other"])
    bed.recovers()


# ---------------------------------------------------------------- clock


@pytest.mark.parametrize("years", [1, -1])
def test_wall_clock_a_year_off_changes_no_lease_and_no_answer(bed: Bed, years: int) -> None:
    known = bed.name()
    first = bed.ask(known)
    (address,) = first.addresses
    looked, left_s = time.monotonic(), bed.sets.left_s("web", address)
    bed.agent.set_clock(years * YEAR_S)
    try:
        again = bed.ask(known)
        assert again.addresses[address] <= first.addresses[address]
        assert again.addresses[address] >= first.addresses[address] - (time.monotonic() - looked) - 1
        assert bed.works()
        assert bed.agent.cli("status").returncode == 0
        after = bed.sets.left_s("web", address)
        assert left_s is not None
        assert after is not None
        assert after >= left_s - (time.monotonic() - looked) - 0.05
    finally:
        bed.agent.set_clock(0.0)
    assert bed.works()


def test_wall_clock_past_a_rules_end_closes_the_rule_and_set_right_opens_it(bed: Bed) -> None:
    """The one thing that hangs on the wall clock: `expires` is a date."""
    tomorrow = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86400))
    assert (
        bed.agent.reload(SETTINGS.replace('".example.org"', '"*.c0.example.org"') % tomorrow).returncode == 0
    )
    try:
        assert bed.client.ask("a900.t300.c1.example.org").addresses
        denied = bed.count("denied")
        bed.agent.set_clock(YEAR_S)
        assert bed.client.ask("a901.t300.c1.example.org").rcode == "NXDOMAIN"
        assert bed.count("denied") > denied
        bed.agent.set_clock(0.0)
        assert bed.client.ask("a902.t300.c1.example.org").addresses
    finally:
        bed.agent.set_clock(0.0)
        assert bed.agent.reload(SETTINGS % NEVER).returncode == 0


# ---------------------------------------------------------------- standing still


@pytest.mark.parametrize("stall_s", [2.5, pytest.param(20.0, marks=pytest.mark.slow)])
def test_process_that_stood_still_tells_nothing_that_has_run_out_meanwhile(bed: Bed, stall_s: float) -> None:
    """Leases go on to lapse in the kernel; who asked meanwhile is answered after it, and rightly."""
    short = [bed.name(ttl) for ttl in (1, 2, 3, 5, 30) for _ in range(4)]
    for name in short:
        assert bed.ask(name).addresses
    with bed.lab.host.entered():
        waiting = Client(bed.lab.host)
    sock = waiting._udp["127.0.0.1"]
    sock.setsockopt(1, 33, 8 << 20)  # SO_RCVBUFFORCE
    asked: dict[int, str] = {}
    bed.agent.process.send_signal(signal.SIGSTOP)
    try:
        ends = time.monotonic() + stall_s
        while time.monotonic() < ends or len(asked) < 100:
            ident = len(asked)
            asked[ident] = short[ident % len(short)] if ident % 4 else bed.name(5)
            sock.send(packet(asked[ident], ident=ident))
            time.sleep(0.005)  # a pace
        for name in short:
            number, ttl, _ = read_name(name)
            if ttl + 2 < stall_s:  # grace, and the kernel's margin
                assert bed.sets.left_s("web", f"198.18.0.{number[0]}") is None
    finally:
        resumed = time.monotonic()
        bed.agent.process.send_signal(signal.SIGCONT)
    sock.settimeout(60.0)  # patience
    answered, questions = 0, len(asked)
    while asked:
        told = read(reply := sock.recv(65535))
        name = asked.pop(int.from_bytes(reply[:2]))
        answered += bool(bed.check(name, told, resumed).addresses)
    assert answered > questions / 4
    waiting.close()
    bed.recovers()


# ---------------------------------------------------------------- disk


class NowhereToLog(Agent):
    """Its log is a disk that is full."""

    log = ""

    def _start(self) -> subprocess.Popen[str]:
        self._log = Path("/dev/full")
        return super()._start()


def test_log_that_cannot_be_written_stops_nothing(lab: Lab) -> None:
    lab.scripted(lasting)
    agent = NowhereToLog(lab.host, SETTINGS % NEVER, env={"DYNALLOW_LOG": "DEBUG"})
    lab.cleanup(agent.kill)
    agent.wait_ready()
    lab.host.resolv_conf("127.0.0.1")
    assert lab.host.addresses("a1.t300.c0.example.org") == ["198.18.0.1"]
    assert agent.reload((SETTINGS % NEVER).replace("enforce", "enforced")).returncode == EXIT_SETTINGS
    assert lab.host.addresses("a2.t300.c0.example.org") == ["198.18.0.2"]
    assert agent.stop() in (0, 120)  # 120 is the interpreter's own: what it had still to say went nowhere
