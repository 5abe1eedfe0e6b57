"""No client is told a TTL that outlives the kernel's lease of an address in the answer (invariant 2).

After every answer the element is read from the kernel itself. Time that
passed since the reply is added to what is left only as far as it is certain,
so the comparison errs on the strict side. Where that alone speaks against an
answer, because everything stood still for a while, it is asked for again.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest

from tests.lab import Lab, ScriptedServer, dnsbytes
from tests.lab.agent import Agent
from tests.lab.elements import Element
from tests.lab.waiting import TooSlowError
from tests.netns.asking import V4, V6, Client, Told
from tests.netns.kernelsets import KernelSets
from tests.netns.lasting import WEEK_S, lasting
from tests.netns.oldkernel import leave, start_agent

pytestmark = pytest.mark.netns

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.12"]
[lease]
%s
[[rule]]
name = "wide"
names = ["*.example.org"]
[[rule]]
name = "chains"
names = ["*.c2.example.org", "*.t0.c0.example.org"]
ports = ["tcp/80"]
"""
RULES = ("wide", "chains")
LEASES = {
    "default": "",
    "no-grace": 'grace = "0s"\nmin = "1s"',
    "short-max": 'grace = "10s"\nmin = "1s"\nmax = "15m"',
}
STOOD_STILL_S = 0.05
ADDRESSES = 150  # few, so that most of them are shared by names of very different TTLs
TTLS = (0, 1, 2, 3, 5, 29, 30, 60, 61, 299, 300, 3600, 86400, WEEK_S)
TYPES = (dnsbytes.A, dnsbytes.A, dnsbytes.AAAA, dnsbytes.AAAA, dnsbytes.HTTPS)


class Asking(NamedTuple):
    name: str
    qtype: int
    server: str
    tcp: bool
    edns: bool


@dataclass
class Tally:
    """What the run was made of, so that a run that proves nothing is seen."""

    answers: int = 0
    addresses: int = 0
    least_spare_s: float = float("inf")
    told: Counter[int] = field(default_factory=Counter)


@pytest.fixture(scope="module")
def server(shared_lab: Lab) -> ScriptedServer:
    return shared_lab.scripted(lasting)


@pytest.fixture(
    scope="module",
    params=[(kind, in_place) for kind in LEASES for in_place in (True, False)],
    ids=lambda param: f"{param[0]}-{'in-place' if param[1] else 'add-delete-add'}",
)
def agent(shared_lab: Lab, server: ScriptedServer, request: pytest.FixtureRequest) -> Iterator[Agent]:
    kind, in_place = request.param
    agent = start_agent(shared_lab, SETTINGS % LEASES[kind], in_place=in_place)
    yield agent
    leave(shared_lab, agent)


@pytest.fixture
def client(shared_lab: Lab) -> Iterator[Client]:
    client = Client(shared_lab.host)
    yield client
    client.close()


@pytest.fixture
def sets(shared_lab: Lab) -> Iterator[KernelSets]:
    sets = KernelSets(shared_lab.host)
    yield sets
    sets.close()


@pytest.fixture(params=[600, pytest.param(10_000, marks=pytest.mark.slow)])
def count(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_told_ttl_of_every_answer_is_within_the_kernels_lease(
    agent: Agent, server: ScriptedServer, client: Client, sets: KernelSets, count: int
) -> None:
    tally = Tally()
    server.reset()
    for asking in _askings(random.Random(count), count):
        _ask_and_check(asking, client, sets, tally)
    assert tally.answers == count
    assert tally.addresses > count
    cached = count - server.queries()
    assert min(cached, count - cached) > count / 6, "too few of one kind to prove anything"
    print(f"{count} answers ({cached} cached), {tally.addresses} addresses")
    print(f"least to spare {tally.least_spare_s:.3f} s, {len(tally.told)} different TTLs told")


def test_told_ttl_of_a_stale_answer_is_within_the_kernels_lease(
    agent: Agent, server: ScriptedServer, client: Client, sets: KernelSets
) -> None:
    """RFC 8767's 30 seconds are a promise as well, and need a lease of their own."""
    asking = Asking("a900-901.t1.c2.example.org", dnsbytes.A, V4, tcp=False, edns=True)
    first = client.ask(*asking[:3])
    assert first.rcode == "NOERROR"
    server.turn(failing=True)
    try:
        deadline = time.monotonic() + 10
        while (told := client.ask(*asking[:3])).longest_ttl <= 1:
            assert time.monotonic() < deadline, "no stale answer"
        assert told.longest_ttl in (29, 30)
        for tcp in (False, True):
            _ask_and_check(asking._replace(tcp=tcp), client, sets, Tally())
    finally:
        server.turn(failing=False)


def test_told_ttl_of_a_shared_address_survives_a_second_name_with_a_shorter_one(
    agent: Agent, client: Client, sets: KernelSets
) -> None:
    """Invariant 3: re-adding an element with a shorter timeout would cut the first client's lease."""
    long, short = (Asking(f"a950.t{ttl}.c0.example.org", dnsbytes.A, V4, False, True) for ttl in (600, 2))
    _ask_and_check(long, client, sets, Tally())
    read_at, before = time.monotonic(), sets.left_s("wide", "198.18.3.182")
    _ask_and_check(short, client, sets, Tally())
    after = sets.left_s("wide", "198.18.3.182")
    assert before is not None
    assert after is not None
    assert after >= before - (time.monotonic() - read_at) - 0.05
    _ask_and_check(long._replace(tcp=True), client, sets, Tally())


def test_reader_of_this_proof_agrees_with_nft(
    shared_lab: Lab, agent: Agent, client: Client, sets: KernelSets
) -> None:
    for number, ttl in ((960, 60), (961, 86400), (962, 5)):
        told = client.ask(f"a{number}.t{ttl}.c0.example.org")
        assert told.rcode == "NOERROR", told.message.to_text()
    before = sets.members("wide")
    by_nft = shared_lab.host.set_elements("wide_v4")
    for address in ("198.18.3.192", "198.18.3.193", "198.18.3.194"):
        element: Element = by_nft[address]
        assert element.expires_s is not None
        after = sets.left_s("wide", address)
        assert after is not None
        # However long it took between: nft rounds to milliseconds.
        assert before[address] + 0.01 >= element.expires_s >= after - 0.01
    assert sets.left_s("wide", "192.0.2.1") is None


def _askings(dice: random.Random, count: int) -> Iterator[Asking]:
    """Fresh names, the same again, and names that share addresses with others of other TTLs."""
    known: list[Asking] = []
    for _ in range(count):
        if known and dice.random() < 0.4:
            # Some of the latest and some of the oldest: just leased, or run down for a while.
            past = dice.choice(known[-20:] if dice.random() < 0.5 else known)
            name, qtype = past.name, past.qtype
        else:
            numbers = "-".join(str(dice.randrange(ADDRESSES)) for _ in range(dice.choice((1, 1, 1, 2, 4))))
            qtype = dice.choice(TYPES)
            links = 0 if qtype == dnsbytes.HTTPS else dice.choice((0, 0, 1, 2, 5))
            ttl = dice.choice(TTLS) if dice.random() < 0.8 else dice.randrange(WEEK_S)
            name = f"a{numbers}.t{ttl}.c{links}.example.org"
        asking = Asking(name, qtype, dice.choice((V4, V6)), dice.random() < 0.3, dice.random() < 0.8)
        known.append(asking)
        yield asking


def _ask_and_check(asking: Asking, client: Client, sets: KernelSets, tally: Tally) -> None:
    for _ in range(20):
        asked = time.monotonic()
        told = client.ask(asking.name, asking.qtype, asking.server, tcp=asking.tcp, edns=asking.edns)
        try:
            _check(asking, told, time.monotonic(), sets, tally)
            return
        except AssertionError:
            if time.monotonic() - asked < STOOD_STILL_S:
                raise
        for rule in _rules(asking.name):  # of what is certain even so
            for address in told.addresses:
                left_s = sets.left_s(rule, address) or 0.0
                assert left_s + time.monotonic() - asked >= told.longest_ttl, f"{address} of {asking}"
    raise TooSlowError(f"a machine that stood still whenever {asking} was asked")


def _check(asking: Asking, told: Told, replied: float, sets: KernelSets, tally: Tally) -> None:
    """Every TTL in the answer against every address in it, in the set of every rule that allows it."""
    assert told.rcode == "NOERROR", f"{asking}: {told.message.to_text()}"
    assert told.addresses, f"{asking}: {told.message.to_text()}"
    for rule in _rules(asking.name):
        for address in told.addresses:
            passed_s = time.monotonic() - replied  # the kernel looks later still
            left_s = sets.left_s(rule, address)
            assert left_s is not None, f"{address} of {asking} is not in {rule}"
            spare_s = left_s + passed_s - told.longest_ttl
            assert spare_s >= 0, (
                f"{asking}: told {told.longest_ttl} s, {left_s} s left in {rule} of {address}"
            )
            tally.addresses += 1
            tally.least_spare_s = min(tally.least_spare_s, spare_s)
    tally.answers += 1
    tally.told[told.longest_ttl] += 1


def _rules(name: str) -> list[str]:
    chained = name.endswith((".c2.example.org", ".t0.c0.example.org"))
    return [*RULES] if chained else ["wide"]
