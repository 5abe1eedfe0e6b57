"""Split DNS with the real agent: whose servers a name is asked of, and what may point inside.

Each server answers every name with its own two addresses, one private and one public, so that an
answer says who gave it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.lab import NOBODY, Lab, ScriptedServer, dnsbytes
from tests.lab.agent import Agent
from tests.lab.dnsbytes import Query
from tests.lab.scenarios import Knobs
from tests.netns.asking import Client
from tests.netns.kernelsets import KernelSets

pytestmark = pytest.mark.netns

GENERAL, CORP, LAB = "10.10.0.12", "10.10.0.13", "10.10.0.14"
SETTINGS = f"""
mode = "enforce"
[resolver]
upstreams = ["{GENERAL}"]
[[resolver.zone]]
names = [".corp.example.org", ".open.example.org"]
upstreams = ["{CORP}"]
[[resolver.zone]]
names = [".lab.corp.example.org"]
upstreams = ["{LAB}"]
[[rule]]
name = "inside"
names = [".corp.example.org"]
private = ["10.0.0.0/8"]
[[rule]]
name = "public"
names = ["*.example.org"]
except = [".corp.example.org"]
"""
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 443), 0.5).close()"


def inside(server: str) -> str:
    return f"10.99.0.{server.rpartition('.')[2]}"


def outside(server: str) -> str:
    return f"198.51.100.{server.rpartition('.')[2]}"


def telling(query: Query, knobs: Knobs) -> bytes:
    """Both addresses of the server that was asked; those in the knob `refusing` answer REFUSED."""
    server = query.server[0]
    if server in knobs["refusing"]:
        return dnsbytes.reply(query, rcode=dnsbytes.REFUSED)
    if query.qtype != dnsbytes.A:
        return dnsbytes.reply(query, authority=[dnsbytes.soa("example.org")])
    return dnsbytes.reply(query, [dnsbytes.address(inside(server)), dnsbytes.address(outside(server))])


@pytest.fixture(scope="module")
def servers(shared_lab: Lab) -> ScriptedServer:
    return shared_lab.scripted(telling, addresses=[GENERAL, CORP, LAB], refusing=[])


@pytest.fixture(scope="module")
def agent(shared_lab: Lab, servers: ScriptedServer) -> Agent:
    return shared_lab.agent(SETTINGS)


@pytest.fixture
def client(shared_lab: Lab, agent: Agent) -> Iterator[Client]:
    with closing(Client(shared_lab.host)) as client:
        yield client


@pytest.mark.parametrize(
    ("name", "server"),
    [
        ("www.example.org", GENERAL),
        ("notcorp.example.org", GENERAL),
        ("corp.example.org", CORP),
        ("a.corp.example.org", CORP),
        ("notlab.corp.example.org", CORP),
        ("b.a.corp.example.org", CORP),
        ("lab.corp.example.org", LAB),
        ("a.lab.corp.example.org", LAB),
        ("b.A.Lab.Corp.example.org", LAB),
        ("x.open.example.org", CORP),
    ],
)
def test_name_is_asked_of_the_zone_with_the_longest_match_and_of_nobody_else(
    client: Client, servers: ScriptedServer, name: str, server: str
) -> None:
    told = client.ask(name)
    assert outside(server) in told.addresses
    assert told.addresses.keys() <= {inside(server), outside(server)}
    assert servers.queries(name.lower()) == 1


def test_zones_private_answer_is_leased_where_the_rule_says_private_and_left_out_elsewhere(
    shared_lab: Lab, client: Client
) -> None:
    told = client.ask("host.corp.example.org")
    assert told.addresses.keys() == {inside(CORP), outside(CORP)}
    assert client.ask("host.corp.example.org", tcp=True).addresses.keys() == told.addresses.keys()
    # The same zone's servers, another rule: that they are ours makes nothing private allowed.
    assert client.ask("host.open.example.org").addresses.keys() == {outside(CORP)}
    with closing(KernelSets(shared_lab.host)) as sets:
        assert {inside(CORP), outside(CORP)} <= sets.members("inside").keys()
        assert not {inside(server) for server in (GENERAL, CORP, LAB)} & sets.members("public").keys()
    assert _reaches(shared_lab, inside(CORP))
    assert not _reaches(shared_lab, inside(GENERAL))


def _reaches(lab: Lab, address: str) -> bool:
    return lab.host.python(CONNECT, address, check=False, user=NOBODY).returncode == 0


def test_zone_whose_servers_fail_is_not_asked_of_the_others(client: Client, servers: ScriptedServer) -> None:
    """Its names are nobody else's business, and what others say of them is not true."""
    servers.turn(refusing=[CORP])
    try:
        told = client.ask("secret.corp.example.org")
        assert (told.rcode, dict(told.addresses)) == ("SERVFAIL", {})
        assert servers.queries("secret.corp.example.org") == 3  # tries, all of them with the zone's own
        assert client.ask("other.example.org").rcode == "NOERROR"
    finally:
        servers.turn(refusing=[])
