"""The agent as a process: started by a user of its own, with two capabilities and nothing else.

Needs the lab and other users than root.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.lab import NOBODY, Lab, Zone, wait_until
from tests.lab.agent import STOP_WITHIN_S, Agent
from tests.lab.needs import require_lab, require_users

AGENT_USER = 4711
SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10", "fd00:10::10"]
[[rule]]
name = "web"
names = [".example.org"]
ports = ["tcp/443", "udp/443"]
"""
OTHER = SETTINGS.replace('name = "web"', 'name = "net"')
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 443), 0.5).close()"
# The mark alone, without the agent's user: root may set it, and must not get out by it.
MARKED = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x64796e61)
try:
    sock.sendto(b"marked", ("10.10.0.10", 53))
    print("sent")
except PermissionError:
    print("refused")
"""


@pytest.fixture(scope="module")
def unprivileged() -> Iterator[tuple[Lab, Agent]]:
    require_lab()
    require_users()
    with Lab() as lab:
        lab.serve(Zone("example.org").both("www", 10).both("other", 11))
        yield lab, lab.agent(SETTINGS, user=AGENT_USER)


@pytest.fixture
def as_it_was(unprivileged: tuple[Lab, Agent]) -> Iterator[tuple[Lab, Agent]]:
    """The same, with the first settings in force again afterwards."""
    yield unprivileged
    assert unprivileged[1].reload(SETTINGS).returncode == 0


def reaches(lab: Lab, address: str) -> bool:
    return lab.host.python(CONNECT, address, check=False, user=NOBODY).returncode == 0


def test_agent_without_root_runs_as_its_user(unprivileged: tuple[Lab, Agent]) -> None:
    _, agent = unprivileged
    with open(f"/proc/{agent.process.pid}/status") as status:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
    assert fields["Uid"].split() == [str(AGENT_USER)] * 4
    net_bind_service, net_admin = 1 << 10, 1 << 12
    assert int(fields["CapEff"], 16) == net_bind_service | net_admin


def test_agent_without_root_leases_and_denies(unprivileged: tuple[Lab, Agent]) -> None:
    lab, _ = unprivileged
    assert not reaches(lab, "192.0.2.10")
    assert lab.host.addresses("www.example.org") == ["192.0.2.10"]
    assert lab.host.addresses("www.example.org", "AAAA") == ["2001:db8::a"]
    assert reaches(lab, "192.0.2.10")
    assert reaches(lab, "2001:db8::a")
    assert lab.host.ask("www.example.com").rcode() == 3


def test_upstream_rule_of_an_agent_without_root_names_its_user(unprivileged: tuple[Lab, Agent]) -> None:
    lab, _ = unprivileged
    chain = lab.host.run(["nft", "list", "chain", "inet", "dynallow", "output"]).stdout
    upstream = [line for line in chain.splitlines() if 'comment "upstream"' in line]
    assert len(upstream) == 4
    assert all(f"meta skuid {AGENT_USER} " in line for line in upstream)


def test_mark_without_the_agents_user_does_not_get_out(unprivileged: tuple[Lab, Agent]) -> None:
    lab, _ = unprivileged
    wire = lab.sniffer()
    assert lab.host.python(MARKED).stdout in ("refused\n", "sent\n")  # sent: to the agent, by the redirect
    assert [str(packet) for packet in wire.stop() if packet.from_host and b"marked" in packet.payload] == []


def test_agent_without_root_reloads(as_it_was: tuple[Lab, Agent]) -> None:
    lab, agent = as_it_was
    reloaded = agent.reload(OTHER)
    assert reloaded.returncode == 0, reloaded
    assert lab.host.addresses("other.example.org") == ["192.0.2.11"]
    assert "192.0.2.11" in lab.host.set_elements("net_v4")


def test_agent_without_root_switches_modes(unprivileged: tuple[Lab, Agent]) -> None:
    lab, agent = unprivileged
    assert agent.cli("mode", "observe").returncode == 0
    assert reaches(lab, "198.51.100.1")
    assert agent.cli("mode", "enforce").returncode == 0
    assert not reaches(lab, "198.51.100.1")


def test_agent_without_root_flushes_and_cuts(unprivileged: tuple[Lab, Agent]) -> None:
    lab, agent = unprivileged
    assert lab.host.addresses("www.example.org") == ["192.0.2.10"]
    assert reaches(lab, "192.0.2.10")
    assert agent.cli("flush").returncode == 0
    assert not reaches(lab, "192.0.2.10")


def test_agent_without_root_rebuilds_the_table(unprivileged: tuple[Lab, Agent]) -> None:
    lab, agent = unprivileged
    assert lab.host.addresses("www.example.org") == ["192.0.2.10"]
    began = time.monotonic()
    lab.host.run(["nft", "flush", "ruleset"])
    wait_until(lambda: "192.0.2.10" in _leased(lab), "the table's rebuilding")
    print(f"rebuilt after {(time.monotonic() - began) * 1000:.0f} ms")
    assert "Permission" not in agent.log


def test_agent_without_root_adopts_after_a_crash_and_stops_at_once(unprivileged: tuple[Lab, Agent]) -> None:
    lab, agent = unprivileged
    assert lab.host.addresses("www.example.org") == ["192.0.2.10"]
    agent.kill()
    agent.start()
    assert "192.0.2.10" in _leased(lab)
    assert agent.stop(within_s=STOP_WITHIN_S) == 0
    assert "192.0.2.10" in _leased(lab)
    agent.start()


def _leased(lab: Lab) -> str:
    return lab.host.run(["nft", "list", "set", "inet", "dynallow", "web_v4"], check=False).stdout
