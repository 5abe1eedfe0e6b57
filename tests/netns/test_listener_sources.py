"""A listener on every address: a reply leaves from the one that was asked, or its client throws it away.

Fresh, hot and denied replies, in both families, asked on the host and from the wire.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.lab import Lab, Zone
from tests.lab.agent import Agent
from tests.lab.namespace import Namespace
from tests.netns.asking import packet, read

pytestmark = pytest.mark.netns

SETTINGS = """
mode = "enforce"
[resolver]
listen = ["0.0.0.0:53", "[::]:53"]
upstreams = ["10.10.0.10"]
[[rule]]
name = "listed"
names = ["*.example.org"]
"""
ON_HOST = ("127.0.0.1", "127.9.9.9", "10.10.1.2", "10.10.1.3", "::1", "fd00:10:1::2", "fd00:10:1::3")
FROM_WIRE = ("10.10.1.2", "10.10.1.3", "fd00:10:1::2", "fd00:10:1::3")
COUNT = 10
WITHIN_S = 5.0


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(web=False) as lab:
        lab.host.ip("addr add 10.10.1.3/24 dev eth0", "addr add fd00:10:1::3/64 dev eth0 nodad")
        lab.serve(Zone("example.org").numbered(COUNT))
        yield lab


@pytest.fixture(scope="module")
def agent(lab: Lab) -> Agent:
    return lab.agent(SETTINGS)


@pytest.mark.parametrize("place", ["on the host", "from the wire"])
def test_wildcard_listener_replies_from_the_address_that_was_asked(
    lab: Lab, agent: Agent, place: str
) -> None:
    asker, servers = (lab.host, ON_HOST) if place == "on the host" else (lab.router, FROM_WIRE)
    names = [f"n{number}.example.org" for number in range(COUNT)] + ["denied.example.net"]
    for _ in range(3):  # first fresh and decided, then from the stores
        asked, told = _ask_all(asker, servers, names)
        assert told == asked


def _ask_all(asker: Namespace, servers: tuple[str, ...], names: list[str]) -> tuple[set[object], set[object]]:
    """(what was asked of whom, what was answered by whom), all questions in flight at once."""
    asked: set[object] = set()
    told: set[object] = set()
    with ExitStack() as stack:
        with asker.entered():
            sockets = {
                six: stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
                for six, family in ((False, socket.AF_INET), (True, socket.AF_INET6))
            }
        for server in servers:
            for name in names:
                sockets[":" in server].sendto(packet(name), (server, 53))
                asked.add((server, name, "NXDOMAIN" if name.startswith("denied") else "NOERROR"))
        for sock in sockets.values():
            sock.settimeout(WITHIN_S)
        for server in servers:
            for _ in names:
                reply, sender = sockets[":" in server].recvfrom(65535)
                found = read(reply)
                told.add(
                    (sender[0], found.message.question[0].name.to_text(omit_final_dot=True), found.rcode)
                )
    return asked, told
