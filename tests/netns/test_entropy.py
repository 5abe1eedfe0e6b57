"""What a forger who sees nothing must guess: at least 30 bits of id and port, as they stand on the wire.

The case of the name's letters comes on top: a bit each, which depends on neither.
The agent's own sockets ask, in the lab's host; a sink where the upstream would be takes note
of what arrives.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Iterator

import pytest

from dynallow.policy.names import parse_name
from dynallow.resolver.upstream.datagrams import Datagrams, target
from dynallow.units import Endpoint, parse_endpoint
from tests.lab import Lab, dnsbytes
from tests.lab.topology import SCRIPTED_SERVER
from tests.netns.entropy import FIRST_PORT, measure, measure_case

pytestmark = pytest.mark.netns

UNLIKELY = 6.0
"""Standard deviations; fair draws are that far off once in some 100,000 series."""
OPEN_AT_ONCE = 50
NAME = parse_name("www.example.org")
LETTERS = 13
Pairs = list[tuple[int, int]]


@pytest.fixture(scope="module")
def sink(shared_lab: Lab) -> Iterator[socket.socket]:
    with shared_lab.internet.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((SCRIPTED_SERVER[0], 53))
    sock.settimeout(30)
    yield sock
    sock.close()


def test_ids_and_ports_of_5_000_questions_cannot_be_foreseen(shared_lab: Lab, sink: socket.socket) -> None:
    _judge(*_asked(shared_lab, sink, 5_000), bits=30.0)


@pytest.mark.slow
def test_ids_and_ports_of_100_000_questions_cannot_be_foreseen(shared_lab: Lab, sink: socket.socket) -> None:
    _judge(*_asked(shared_lab, sink, 100_000), bits=31.5)


def _asked(lab: Lab, sink: socket.socket, count: int) -> tuple[Pairs, list[bytes]]:
    """Id and port of each question, and the name, as they came."""
    names: list[bytes] = []

    async def ask() -> Pairs:
        datagrams, to, pairs = Datagrams(None), target(_server()), Pairs()
        loop = asyncio.get_running_loop()
        while len(pairs) < count:
            waiting = [datagrams.ask(to, NAME, dnsbytes.A, loop.time() + 60) for _ in range(OPEN_AT_ONCE)]
            for _ in waiting:
                data, (_, port) = sink.recvfrom(512)
                pairs.append((int.from_bytes(data[:2], "big"), port))
                names.append(data[12 : 12 + len(NAME)])
            for one in waiting:
                datagrams.done(one)
        datagrams.close()
        return pairs

    with lab.host.entered():
        return asyncio.run(ask()), names


def _server() -> Endpoint:
    return parse_endpoint(SCRIPTED_SERVER[0], 53)


def _judge(pairs: Pairs, names: list[bytes], *, bits: float) -> None:
    found, case = measure(pairs), measure_case(names, pairs)
    print(
        f"\n{len(pairs)} questions: id {found.id_bits:.2f} bits, port {found.port_bits:.2f}, "
        f"together {found.bits:.2f}; {found.pairs_alike} pairs alike; deviations "
        + ", ".join(f"{name} {value:+.1f}" for name, value in found.deviations.items())
    )
    print(
        f"and the case of {LETTERS} letters {case.bits:.2f}; deviations "
        + ", ".join(f"{name} {value:+.1f}" for name, value in case.deviations.items())
    )
    assert {name.lower() for name in names} == {NAME}
    assert case.bits > LETTERS - 0.2
    assert case.worst < UNLIKELY, case.deviations
    assert found.bits >= bits
    assert found.worst < UNLIKELY, found.deviations
    assert found.pairs_alike <= 12  # 1.2 are to be expected of 100,000


@pytest.mark.parametrize("flaw", ["counted ids", "counted ports", "few ports", "port from id", "seven bits"])
def test_measure_of_a_flawed_series_finds_the_flaw(flaw: str) -> None:
    chosen = random.Random(3)
    pairs: Pairs = []
    for number in range(5_000):
        ident, port = chosen.randrange(1 << 16), chosen.randrange(FIRST_PORT, 1 << 16)
        match flaw:
            case "counted ids":
                ident = number * 7 & 0xFFFF
            case "counted ports":
                port = FIRST_PORT + number * 13 % 64512
            case "few ports":
                port = 40000 + port % 1000
            case "port from id":
                port = max(ident, FIRST_PORT)
            case "seven bits":
                ident &= 0xFEFE
        pairs.append((ident, port))
    found = measure(pairs)
    assert found.bits < 30.0 or found.worst > UNLIKELY


@pytest.mark.parametrize(
    "flaw", ["one letter as it is", "two letters alike", "case from id", "the last one's"]
)
def test_measure_of_flawed_cases_finds_the_flaw(flaw: str) -> None:
    chosen = random.Random(4)
    pairs = [(chosen.randrange(1 << 16), chosen.randrange(FIRST_PORT, 1 << 16)) for _ in range(5_000)]
    names: list[bytes] = []
    last = 0
    for ident, _ in pairs:
        bits = chosen.randrange(1 << len(NAME))
        match flaw:
            case "one letter as it is":
                bits &= ~0b10
            case "two letters alike":
                bits = bits & ~0b100 | (bits & 0b10) << 1
            case "case from id":
                bits = ident << 1
            case "the last one's":
                bits = last if len(names) % 2 else bits
        last = bits
        upper = NAME.upper()
        names.append(bytes((upper if bits >> at & 1 else NAME)[at] for at in range(len(NAME))))
    found = measure_case(names, pairs)
    assert found.bits < LETTERS - 0.2 or found.worst > UNLIKELY
