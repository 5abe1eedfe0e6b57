"""No forged answer is believed, however many there are, and every question is answered for all that.

A forger on the wire sees the questions, and answers before the name server does, with all
right but one: the id, the port, the question, its case, the cookie. The control is a client
that does not look. None of it takes a check away: case and cookies count as before.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from tests.lab import Lab, ScriptedServer
from tests.lab.agent import Agent
from tests.lab.forger import EVIL, Forged, forging
from tests.lab.guarded import guarded
from tests.lab.scenarios import fresh_address, slow
from tests.lab.topology import SCRIPTED_SERVER
from tests.netns.asking import Client, packet
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
AT_ONCE = 10
COOKIE_SERVER = "10.10.0.13"


@pytest.fixture(scope="module")
def server(shared_lab: Lab) -> ScriptedServer:
    """It takes its time, so that the forger is always first."""
    return shared_lab.scripted(slow, delay_s=0.02)


@pytest.fixture
def agent(shared_lab: Lab, server: ScriptedServer) -> Iterator[Agent]:
    agent = shared_lab.agent(SETTINGS)
    yield agent
    agent.stop()
    shared_lab.host.run(["nft", "delete", "table", "inet", "dynallow"])


def test_forger_is_believed_by_a_client_that_looks_at_nothing(
    shared_lab: Lab, server: ScriptedServer
) -> None:
    """Else the silence of the other tests would prove nothing."""
    believed = 0
    with forging(shared_lab, rate=5_000, seconds=0.5):
        for number in range(10):
            with shared_lab.host.entered():
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with sock:
                sock.settimeout(30)
                sock.connect((server.addresses[0], 53))
                sock.send(packet(f"n{number}.example.org"))
                believed += ip_address(EVIL).packed in sock.recv(4096)
    assert believed > 0


def test_forger_for_two_seconds_is_never_believed(shared_lab: Lab, agent: Agent) -> None:
    forged = _under_fire(shared_lab, agent, seconds=2.0, first=0)
    assert forged.sent > 10_000


@pytest.mark.slow
def test_forger_of_50_000_a_second_for_30_seconds_is_never_believed(shared_lab: Lab, agent: Agent) -> None:
    forged = _under_fire(shared_lab, agent, seconds=30.0, first=100_000)
    assert forged.sent > 1_000_000, "the machine was too busy to send as many"


def test_forger_without_the_servers_cookie_is_never_believed(shared_lab: Lab, agent: Agent) -> None:
    """With id, port and question right, case and all: that much a client without cookies believes."""
    server = shared_lab.scripted(guarded, addresses=[COOKIE_SERVER], cookies=True, delay_s=0.02)
    agent.reload(SETTINGS.replace(SCRIPTED_SERVER[0], COOKIE_SERVER))
    client = Client(shared_lab.host)
    assert client.ask_all(["n999999.example.org"])[0].addresses
    client.close()
    forged = _under_fire(
        shared_lab, agent, seconds=2.0, first=500_000, server=server.addresses[0], cookies=True
    )
    assert forged.no_cookie > 1_000
    assert forged.wrong_cookie > 1_000
    assert _counted(agent, "cookieless") > 0


def _under_fire(
    lab: Lab,
    agent: Agent,
    *,
    seconds: float,
    first: int,
    server: str = SCRIPTED_SERVER[0],
    cookies: bool = False,
) -> Forged:
    """Asks fresh names for as long as the forger works; each must be answered, and rightly."""
    client, sets = Client(lab.host), KernelSets(lab.host)
    number, slowest = first, 0.0
    leased = len(sets.members("all"))
    flood = forging(lab, rate=50_000, seconds=seconds, server=server, cookies=cookies)
    with flood as (forged, process):
        while process.poll() is None:
            names = [f"n{number + more}.example.org" for more in range(AT_ONCE)]
            began = time.monotonic()
            replies = client.ask_all(names)  # raises TimeoutError: a question without an answer
            slowest = max(slowest, time.monotonic() - began)
            told = {address for reply in replies for address in reply.addresses}
            assert told == {fresh_address(number + more) for more in range(AT_ONCE)}, replies
            number += AT_ONCE
    assert EVIL not in sets.members("all")
    assert len(sets.members("all")) == leased + number - first
    mismatched = _counted(agent, "mismatched")
    assert mismatched > 0  # they came where they should
    assert _counted(agent, "miscased") > 0
    (upstream,) = agent.cli_json("status")["upstreams"]
    assert (upstream["keeps_case"], upstream["gives_cookies"]) == (True, cookies)
    client.close()
    sets.close()
    assert agent.process.poll() is None
    assert "Traceback" not in agent.log, agent.log
    print(f"\n{number - first} names asked, all answered, the slowest {AT_ONCE} in {slowest:.2f} s;")
    print(f"{forged.sent} forged answers, {forged.rate:.0f} a second, none believed: {forged};")
    print(f"{mismatched:.0f} were read and dropped; asked again over TCP: {_counted(agent, 'tcp'):.0f}")
    return forged


def _counted(agent: Agent, kind: str) -> float:
    line = rf'^dynallow_upstream_packets_total{{kind="{kind}"}} (.*)$'
    found = re.search(line, agent.get("/metrics")[1], re.MULTILINE)
    assert found is not None
    return float(found[1])
