"""Revoking an address that is open for another reason than a lease, and how `explain` tells of the others.

Needs the lab. A revoked address is blocked before anything else is looked at,
so the block must not hit what never rested on the lease.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import dns.rcode
import pytest

from tests.lab import Lab, Zone
from tests.lab.agent import Agent
from tests.lab.needs import require_lab

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10"]
timeout = "1s"
[[rule]]
name = "web"
names = [".example.org"]
private = ["10.10.0.0/24", "127.0.0.0/8"]
ports = ["tcp/6001"]
[[destination]]
name = "mirror"
addresses = ["192.0.2.10", "2001:db8::/124"]
ports = ["tcp/6002"]
"""
EXIT_DENIED = 5
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.5).close()"
TALK = """
import socket, sys
sock = socket.create_connection((sys.argv[1], 6002), 5)
sock.settimeout(20)
print("ready", flush=True)
for line in sys.stdin:
    sock.sendall(b"hello")
    print(sock.recv(5).decode(), flush=True)
"""


@pytest.fixture(scope="module")
def served() -> Iterator[Lab]:
    require_lab()
    with Lab() as lab:
        zone = Zone("example.org").both("www", 10).both("other", 20).a("here", "127.0.0.1").numbered(20)
        lab.serve(zone.a("upstream", "10.10.0.10"))
        yield lab


@pytest.fixture(scope="module")
def agent(served: Lab) -> Agent:
    """One for all: each test asks for a name that no other does."""
    return served.agent(SETTINGS)


def reaches(lab: Lab, address: str, port: int) -> bool:
    return lab.host.python(CONNECT, address, str(port), check=False).returncode == 0


def flush(agent: Agent, name: str) -> set[str]:
    """`dynallow flush --name NAME`; the addresses whose leases it took away."""
    return {lease["address"] for lease in agent.cli_json("flush", "--name", name)["revoked"]}


@pytest.mark.parametrize(("kind", "address"), [("A", "192.0.2.10"), ("AAAA", "2001:db8::a")])
def test_flushed_address_of_a_destination_stays_reachable_there_and_only_there(
    served: Lab, agent: Agent, kind: str, address: str
) -> None:
    assert served.host.addresses("www.example.org", kind) == [address]
    talk = [served.host.python_path, "-c", TALK, address]
    with served.host.popen(talk, stdin=subprocess.PIPE) as flow:
        try:
            assert flow.stdin is not None
            assert flow.stdout is not None
            assert flow.stdout.readline() == "ready\n"
            assert flush(agent, "www.example.org") == {address}
            flow.stdin.write("go\n")
            flow.stdin.flush()
            assert flow.stdout.readline() == "hello\n"
        finally:
            flow.kill()
    assert reaches(served, address, 6002)
    assert not reaches(served, address, 6001)


def test_flushed_address_of_the_upstream_still_answers_the_agent(served: Lab, agent: Agent) -> None:
    assert served.host.addresses("upstream.example.org") == ["10.10.0.10"]
    assert flush(agent, "upstream.example.org") == {"10.10.0.10"}
    assert served.host.addresses("n1.example.org") == ["198.18.0.2"]  # fresh: no cache has it
    assert not reaches(served, "10.10.0.10", 6001)


def test_flushed_loopback_address_still_serves_its_clients(served: Lab, agent: Agent) -> None:
    assert served.host.addresses("here.example.org") == ["127.0.0.1"]
    assert flush(agent, "here.example.org") == {"127.0.0.1"}
    assert served.host.addresses("n2.example.org") == ["198.18.0.3"]
    assert served.host.ask("www.example.com").rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize(("kind", "address"), [("A", "192.0.2.20"), ("AAAA", "2001:db8::14")])
def test_explain_of_an_address_that_a_flush_has_blocked_says_revoked(
    served: Lab, agent: Agent, kind: str, address: str
) -> None:
    assert served.host.addresses("other.example.org", kind) == [address]
    assert agent.cli("explain", address).returncode == 0
    assert address in flush(agent, "other.example.org")
    explained = agent.cli("explain", address)
    assert explained.returncode == EXIT_DENIED
    assert "revoked" in explained.stdout
    assert not reaches(served, address, 6001)
    assert served.host.addresses("other.example.org", kind) == [address]
    granted = agent.cli("explain", address)
    assert granted.returncode == 0
    assert "revoked" not in granted.stdout
