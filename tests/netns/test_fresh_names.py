"""A name that was just resolved can be connected to, at once and from another process (invariant 1).

The other half is the control: nobody gets to an address that no name has
earned yet. 0 refused out of all, or the promise is broken.
"""

from __future__ import annotations

import select
import socket
from collections import Counter
from collections.abc import Iterator
from itertools import islice

import pytest

from tests.lab import Lab, dnsbytes
from tests.lab.agent import Agent
from tests.lab.scenarios import fresh, fresh_address
from tests.lab.waiting import TooSlowError
from tests.netns.asking import V4, V6, Client, packet, read
from tests.netns.oldkernel import leave, start_agent
from tests.netns.visitor import PORT, Visitor

pytestmark = pytest.mark.netns

SETTINGS = f"""
mode = "enforce"
[resolver]
upstreams = ["10.10.0.12"]
[[rule]]
name = "fresh"
names = ["*.example.org"]
ports = ["tcp/{PORT}", "udp/{PORT}"]
"""
FAMILIES = ((dnsbytes.A, 4), (dnsbytes.AAAA, 6))
OK = {"tcp": "ok", "udp": "ok"}
BURST = 32


@pytest.fixture(scope="module")
def served(shared_lab: Lab) -> Lab:
    shared_lab.scripted(fresh)
    return shared_lab


@pytest.fixture(scope="module", params=[True, False], ids=["in-place", "add-delete-add"])
def agent(served: Lab, request: pytest.FixtureRequest) -> Iterator[Agent]:
    agent = start_agent(served, SETTINGS, in_place=request.param)
    yield agent
    leave(served, agent)


@pytest.fixture(params=[500, pytest.param(2000, marks=pytest.mark.slow)])
def count(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def client(served: Lab) -> Iterator[Client]:
    client = Client(served.host)
    yield client
    client.close()


@pytest.fixture
def visitor(served: Lab) -> Iterator[Visitor]:
    with Visitor(served.host) as visitor:
        yield visitor


def test_fresh_names_one_by_one_all_reachable_at_once(
    served: Lab, agent: Agent, client: Client, visitor: Visitor, count: int
) -> None:
    """UDP and TCP, both listeners, both families, glibc for each fifth name; then the same from the cache."""
    start = _unused(count)
    before = _probe(visitor, start, count)
    assert before.total() == 4 * count
    assert not before.keys() & {"ok", "wrong"}, f"open before the name was resolved: {before}"
    outcomes: Counter[str] = Counter()
    with Visitor(served.host) as glibc:
        for number in range(start, start + count):
            for again in (False, True):
                for address in _resolve(client, glibc, number, again):
                    outcomes.update(_judge(visitor.visit(address), number, address))
    assert outcomes == {"ok": 8 * count}


def test_fresh_names_in_bursts_all_reachable_at_once(
    served: Lab, agent: Agent, visitor: Visitor, count: int
) -> None:
    """Answers that share a transaction: 32 questions in flight, each address used as its reply comes."""
    start = _unused(count)
    outcomes: Counter[str] = Counter()
    numbers = iter(range(start, start + count))
    with served.host.entered():
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with sock:
        sock.connect((V6, 53))
        while burst := list(islice(numbers, BURST)):
            for number, address in _burst(sock, burst):
                outcomes.update(_judge(visitor.visit(address), number, address))
    assert outcomes == {"ok": 4 * count}


@pytest.mark.parametrize("version", [4, 6])
def test_many_denied_connects_all_return_at_once(agent: Agent, visitor: Visitor, version: int) -> None:
    """DESIGN section 8, 8: refused at once, also when 200 programs try in the same moment."""
    start = _unused(200)
    # Who is not refused hears nothing before the SYN is sent again, after a second.
    outcomes = visitor.probe([fresh_address(number, version) for number in range(start, start + 200)], 0.9)
    found = Counter(each["tcp"] for each in outcomes)
    assert not found.keys() & {"ok", "wrong"}
    if found["silence"]:
        raise TooSlowError(f"{found['silence']} of 200 connects were not refused within 0.9 s")


_next = [0]


def _unused(count: int) -> int:
    """The first of `count` numbers that no test has used: a name is fresh only once."""
    _next[0] += count
    return _next[0] - count


def _probe(visitor: Visitor, start: int, count: int) -> Counter[str]:
    """What becomes of an attempt at each of the numbers' addresses, in both families by TCP and UDP."""
    addresses = [
        fresh_address(number, version) for number in range(start, start + count) for version in (4, 6)
    ]
    parts = [visitor.probe(addresses[at : at + 500]) for at in range(0, len(addresses), 500)]
    return Counter(outcome for part in parts for each in part for outcome in each.values())


def _resolve(client: Client, glibc: Visitor, number: int, again: bool) -> Iterator[str]:
    """The two addresses of one name, each as soon as it is told."""
    name = f"n{number}.example.org"
    expected = [fresh_address(number, version) for _, version in FAMILIES]
    if number % 5 == 0:
        found = glibc.resolve(name)
        assert found == sorted(expected)
        yield from found
        return
    for (qtype, _), address in zip(FAMILIES, expected, strict=True):
        # Every combination of transport and listener, another one the second time.
        turn = number + again
        told = client.ask(name, qtype, V4 if turn & 2 else V6, tcp=bool(turn & 1), edns=bool(turn & 4))
        assert list(told.addresses) == [address], told.message
        yield address


def _burst(sock: socket.socket, numbers: list[int]) -> Iterator[tuple[int, str]]:
    """Both addresses of each number as their replies come in."""
    waiting = {}
    for number in numbers:
        for qtype, version in FAMILIES:
            data = packet(f"n{number}.example.org", qtype)
            waiting[data[:2]] = (number, fresh_address(number, version))
            sock.send(data)
    while waiting:
        ready, _, _ = select.select([sock], [], [], 5)
        assert ready, f"no reply for {waiting}"
        reply = sock.recv(4096)
        number, address = waiting.pop(reply[:2])
        assert list(read(reply).addresses) == [address]
        yield number, address


def _judge(outcome: dict[str, str], number: int, address: str) -> list[str]:
    assert outcome == OK, f"n{number}.example.org was told {address}, and then: {outcome}"
    return list(outcome.values())
