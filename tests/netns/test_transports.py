"""Upstreams over TCP, TLS and HTTPS with the real agent: leases, the chain, faults, and who else may ask.

Needs the lab, unbound (a real server of all three) and other users than root.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import NOBODY, Lab, Zone, dnsbytes, wait_until
from tests.lab.agent import Agent
from tests.lab.certificates import Certificates
from tests.lab.needs import require, require_lab, require_users
from tests.lab.scenarios import fresh_address
from tests.lab.streamed import Streamed, StreamedServers
from tests.lab.unbound import HTTPS_PORT, UnboundServer
from tests.netns.asking import V4, packet, read

RESOLVER = ("10.10.0.13", "fd00:10::13")
WAYS = {
    "tcp": "tcp://10.10.0.13",
    "tls": "tls://10.10.0.13#dns.example.org",
    "https": f"https://dns.example.org:{HTTPS_PORT}/dns-query#10.10.0.13",
    "tls6": "tls://[fd00:10::13]#dns.example.org",
}
PORTS = {"tcp": 53, "tls": 853, "https": HTTPS_PORT, "tls6": 853}
AGENT_USER = 4711
_SYN = 0x02
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.5).close()"


def settings(*upstreams: str, timeout: str = "1s") -> str:
    listed = ", ".join(f'"{upstream}"' for upstream in upstreams)
    return f"""
mode = "enforce"
[resolver]
upstreams = [{listed}]
timeout = "{timeout}"
[[rule]]
name = "web"
names = [".example.org"]
"""


class Net:
    """The lab with unbound in front of knotd, and what each test starts beside it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.certificates = Certificates(lab.authority)
        zone = Zone("example.org")
        for number in range(10, 60):
            zone.both(f"w{number}", number)
        lab.serve(zone)
        unbound = UnboundServer(lab.internet, RESOLVER, ["example.org"], "10.10.0.10", self.certificates.good)
        lab.cleanup(unbound.stop)
        unbound.wait_ready("example.org")
        self._agent: Agent | None = None

    def agent(self, text: str, user: int | None = None) -> Agent:
        """The one agent, with these settings."""
        trust = {"SSL_CERT_FILE": str(self.certificates.trusted)}
        if self._agent is None:
            self._agent = self.lab.agent(text, env=trust, user=user)
        else:
            ran = self._agent.reload(text)
            assert ran.returncode == 0, ran
        return self._agent

    def serve(self, *servers: Streamed) -> StreamedServers:
        started = StreamedServers(self.lab.internet, servers)
        self.lab.cleanup(started.stop)
        started.wait_ready()
        return started

    def reaches(self, address: str, port: int, user: int | None = NOBODY) -> bool:
        return self.lab.host.python(CONNECT, address, str(port), check=False, user=user).returncode == 0


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    require_lab()
    require("unbound")
    require_users()
    with Lab() as lab:
        yield Net(lab)


def upstreams_of(agent: Agent) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = agent.cli_json("status")["upstreams"]
    return found


@pytest.mark.parametrize("way", WAYS)
def test_agent_with_an_encrypted_upstream_answers_leases_and_lets_the_client_connect(
    way: str, net: Net
) -> None:
    agent = net.agent(settings(WAYS[way]))
    number = 10 + list(WAYS).index(way)
    wire = net.lab.sniffer()
    assert not net.reaches(f"192.0.2.{number}", 443)
    assert net.lab.host.addresses(f"w{number}.example.org") == [f"192.0.2.{number}"]
    assert net.lab.host.addresses(f"w{number}.example.org", "AAAA") == [f"2001:db8::{number:x}"]
    assert net.reaches(f"192.0.2.{number}", 443)
    assert net.reaches(f"2001:db8::{number:x}", 443)
    (upstream,) = upstreams_of(agent)
    assert (upstream["upstream"], upstream["healthy"], upstream["failed"]) == (WAYS[way], True, 0)
    status = agent.cli_json("status")
    assert status["not_in_force"] == []
    assert "not in force" not in agent.cli("check", str(agent.config)).stdout
    # Nothing else was asked of anybody: to port 53 only what tcp:// is, and no datagram at all.
    dns = {(packet.protocol, packet.dport) for packet in wire.from_host() if packet.dport not in (443, 0)}
    assert dns == {("tcp", PORTS[way])}


@pytest.mark.parametrize("way", ["tls", "https"])
def test_question_over_an_encrypted_upstream_is_not_readable_on_the_wire(way: str, net: Net) -> None:
    net.agent(settings(WAYS[way]))
    wire = net.lab.sniffer()
    number = 20 + list(WAYS).index(way)
    assert net.lab.host.addresses(f"w{number}.example.org") == [f"192.0.2.{number}"]
    payloads = b"".join(packet.payload for packet in wire.stop())
    assert f"w{number}".encode() not in payloads


# Not tcp: what others send to port 53 is turned to dynallow itself.
@pytest.mark.parametrize("way", ["tls", "https", "tls6"])
def test_nobody_but_the_agent_reaches_the_upstreams_port(way: str, net: Net) -> None:
    net.agent(settings(WAYS[way]))
    address = RESOLVER[1] if way == "tls6" else RESOLVER[0]
    assert net.lab.host.addresses("w30.example.org") == ["192.0.2.30"]  # the way is there
    assert not net.reaches(address, PORTS[way])
    assert not net.reaches(address, PORTS[way], user=None)  # root without the mark


def test_100_questions_at_once_over_tls_use_one_connection(net: Net) -> None:
    agent = net.agent(settings(WAYS["tls"], timeout="4s"))
    wire = net.lab.sniffer()
    with net.lab.host.entered():
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with client:
        client.settimeout(60)
        client.connect((V4, 53))
        for number in range(10, 60):
            client.send(packet(f"w{number}.example.org", dnsbytes.A))
            client.send(packet(f"w{number}.example.org", dnsbytes.AAAA))
        told = [read(client.recv(4096)) for _ in range(100)]
    assert all(len(one.addresses) == 1 for one in told)
    opened = [sent for sent in wire.from_host() if sent.dport == 853 and sent.payload[13] & _SYN]
    assert len(opened) <= 1
    assert upstreams_of(agent)[0]["failed"] == 0


EXPIRED, WRONG_NAME = "certificate: certificate has expired", "certificate: Hostname mismatch"


@pytest.mark.parametrize(
    ("fault", "status", "error", "places"),
    [
        ("expired", "429", EXPIRED, ("10.10.0.14", "10.10.0.15")),
        ("wrong name", "500", WRONG_NAME, ("10.10.0.16", "10.10.0.17")),
    ],
    ids=["expired-429", "wrong-name-500"],
)
def test_upstreams_with_faults_are_passed_over_counted_and_named(
    net: Net, fault: str, status: str, error: str, places: tuple[str, str]
) -> None:
    """The last one answers all; every name gets its lease."""
    certificates = net.certificates
    shown = certificates.expired() if fault == "expired" else certificates.wrong_name()
    net.serve(
        Streamed(places[0], 853, shown=shown),
        Streamed(places[0], HTTPS_PORT, act=status, shown=certificates.good, http=True),
        Streamed(places[1], 853, shown=certificates.good),
    )
    first, second, third = (
        f"tls://{places[0]}#dns.example.org",
        f"https://dns.example.org:{HTTPS_PORT}/dns-query#{places[0]}",
        f"tls://{places[1]}#dns.example.org",
    )
    agent = net.agent(settings(first, second, third))
    start = 1000 if fault == "expired" else 1100
    for number in range(start, start + 30):
        assert net.lab.host.addresses(f"n{number}.example.org") == [fresh_address(number)]
    refused, limited, good = upstreams_of(agent)
    assert refused["last_error"].startswith(error)
    assert limited["last_error"] == f"HTTP status {status}"
    assert refused["failed"] >= 1
    assert limited["failed"] >= 1
    assert (good["upstream"], good["failed"], good["healthy"]) == (third, 0, True)
    shown_by_cli = agent.cli("status").stdout
    for way, said in ((first, error), (second, f"HTTP status {status}")):
        assert f"{way} FAILING" in shown_by_cli
        assert said in shown_by_cli
    counted = agent.get("/metrics")[1]
    for way in (first, second):
        failed = re.search(
            rf'^dynallow_upstream_failed_total{{server="{re.escape(way)}"}} (\S+)', counted, re.M
        )
        assert failed is not None
        assert float(failed[1]) >= 1
    assert fresh_address(start) in net.lab.host.set_elements("web_v4")


def test_half_open_connection_is_noticed_and_opened_again_when_the_way_is_back(net: Net) -> None:
    """The way to the server swallows everything without a word, as a firewall that forgot the flow does."""
    agent = net.agent(settings(WAYS["tls"], "tcp://10.10.0.10", timeout="1s"))
    assert net.lab.host.addresses("w40.example.org") == ["192.0.2.40"]
    net.lab.router.run(["nft", "-f", "-"], stdin=_SWALLOW)
    try:
        assert net.lab.host.addresses("w41.example.org") == ["192.0.2.41"]  # soon, from the other
        assert net.lab.host.addresses("w42.example.org") == ["192.0.2.42"]
    finally:
        net.lab.router.run(["nft", "delete", "table", "inet", "swallow"])
    assert "no answer in 0." in str(upstreams_of(agent)[0]["last_error"])
    asked = upstreams_of(agent)[0]["asked"]
    wait_until(lambda: bool(upstreams_of(agent)[0]["healthy"]), "the first upstream to be found again")
    assert net.lab.host.addresses("w43.example.org") == ["192.0.2.43"]
    assert upstreams_of(agent)[0]["asked"] == asked + 1


_SWALLOW = """table inet swallow { chain forward { type filter hook forward priority 0;
  ip daddr 10.10.0.13 drop
  ip saddr 10.10.0.13 drop
  }
}
"""


def test_doctor_asks_each_upstream_in_its_own_way(net: Net) -> None:
    """Without an agent, before anything is in force."""
    agent = net.agent(settings(*list(WAYS.values())[:3]))
    agent.stop()
    net.lab.host.run(["nft", "delete", "table", "inet", "dynallow"])
    try:
        found = agent.cli("doctor", "--config", str(agent.config)).stdout
        for way in list(WAYS.values())[:3]:
            assert f"{way} answers" in found
    finally:
        agent.start()


def test_agent_with_a_user_of_its_own_asks_over_tls(net: Net) -> None:
    agent = net.agent(settings(WAYS["tls"]))
    agent.stop()
    try:
        agent.user = AGENT_USER
        agent.directory.chmod(0o777)
        agent.start()
        assert net.lab.host.addresses("w59.example.org") == ["192.0.2.59"]
    finally:
        agent.stop()
        agent.user = None
        agent.start()
