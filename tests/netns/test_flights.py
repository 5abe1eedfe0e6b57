"""Whoever asks the same at the same time is served by one question to the upstream."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import dns.message
import pytest

from tests.lab import Lab, ScriptedServer, dnsbytes
from tests.lab.agent import Agent
from tests.lab.dnsbytes import Query
from tests.lab.scenarios import Knobs, Send
from tests.netns.asking import EDNS, V4, V6, Client, packet, read, read_frame
from tests.netns.kernelsets import KernelSets

pytestmark = pytest.mark.netns

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.12"]
[[rule]]
name = "all"
names = [".example.org"]
"""
CLIENTS, EACH = 100, 10
ADDRESS = "198.51.100.9"


def slow_aliases(query: Query, knobs: Knobs) -> Send:
    """Every name is an alias of shared.example.net; it takes long enough for all to have asked."""
    target = dnsbytes.name("shared.example.net")
    records = [dnsbytes.cname("shared.example.net"), dnsbytes.address(ADDRESS, owner=target)]
    return Send(dnsbytes.reply(query, records), delay_s=0.4)


@pytest.fixture(scope="module")
def server(shared_lab: Lab) -> ScriptedServer:
    return shared_lab.scripted(slow_aliases)


@pytest.fixture(scope="module")
def agent(shared_lab: Lab, server: ScriptedServer) -> Agent:
    return shared_lab.agent(SETTINGS)


@pytest.fixture
def crowd(shared_lab: Lab, agent: Agent) -> Iterator[list[socket.socket]]:
    """Clients, each at a port of its own."""
    with shared_lab.host.entered():
        socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(CLIENTS)]
    for sock in socks:
        sock.settimeout(30)
        sock.connect((V4, 53))
    yield socks
    for sock in socks:
        sock.close()


def test_thousand_identical_questions_at_once_are_one_upstream_query(
    shared_lab: Lab, server: ScriptedServer, crowd: list[socket.socket]
) -> None:
    """Over UDP and TCP, in any case, with EDNS and without: it is the same question."""
    client = Client(shared_lab.host)
    with client.connect(V6) as tcp:
        over_tcp = packet("same.example.org")
        tcp.sendall(struct.pack("!H", len(over_tcp)) + over_tcp)
        for number, sock in enumerate(crowd):
            name = "Same.Example.ORG" if number % 3 == 0 else "same.example.org"
            for _ in range(EACH):
                sock.send(packet(name, edns=EDNS if number % 2 else None))
        for sock in crowd:
            assert {tuple(read(sock.recv(4096)).addresses) for _ in range(EACH)} == {(ADDRESS,)}
        assert list(read(read_frame(tcp)).addresses) == [ADDRESS]
    client.close()
    assert server.queries("same.example.org") == server.queries("same.example.org", "A", "udp") == 1


def test_two_names_with_one_cname_target_are_one_upstream_query_each(
    shared_lab: Lab, server: ScriptedServer, crowd: list[socket.socket]
) -> None:
    names = ("one.example.org", "two.example.org")
    for sock in crowd:
        for name in names * (EACH // 2):
            sock.send(packet(name))
    told = set()
    for sock in crowd:
        for _ in range(EACH):
            data = sock.recv(4096)
            told.add((dns.message.from_wire(data).question[0].name.to_text(), *read(data).addresses))
    assert told == {(f"{name}.", ADDRESS) for name in names}
    assert [server.queries(name) for name in (*names, "shared.example.net")] == [1, 1, 0]
    sets = KernelSets(shared_lab.host)
    assert sets.members("all").keys() == {ADDRESS}
    sets.close()
