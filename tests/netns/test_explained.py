"""What `explain` says of an address, a port and a user is what the kernel does with the first packet.

Needs the lab and other users than root. Each case is asked about, then really sent, from a port of its own;
the wire tells. Modes, users, ports, protocols, destinations, private, revoked and lapsed addresses, DNS.
"""

from __future__ import annotations

import json
from itertools import count
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from tests.lab import NOBODY, Lab, Zone
from tests.lab.agent import Agent, UnixConnection
from tests.lab.needs import require_users

SETTINGS = """
mode = "{mode}"
[resolver]
upstreams = ["10.10.0.10"]
[firewall]
dns = "{dns}"
denied = "{denied}"
[[rule]]
name = "web"
names = [".example.org"]
ports = ["tcp/80", "tcp/443", "tcp/6000-6010", "udp/443", "udp/50-60"]
[[rule]]
name = "admin"
names = [".example.net"]
ports = ["tcp/443", "udp/5000"]
users = [0]
[[rule]]
name = "inner"
names = ["inner.example.com"]
private = ["10.20.0.0/16"]
[[destination]]
name = "ntp"
addresses = ["10.10.0.20", "2001:db8:77::/64"]
ports = ["udp/123"]
[[destination]]
name = "backup"
addresses = ["198.51.100.0/24", "192.0.2.30"]
ports = ["tcp/8000-8010"]
users = [{nobody}]
"""
ROOT_ID = 0


class Case(NamedTuple):
    user: int
    protocol: str
    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.protocol}/{self.port} of {self.address} by {self.user}"


ADDRESSES = {
    "192.0.2.10": "tcp/443 tcp/6011 udp/51 udp/53",  # leased under web
    "2001:db8::a": "tcp/6010 udp/5355",
    "192.0.2.14": "tcp/443 udp/5000",  # under web, and under admin for root
    "192.0.2.13": "tcp/443",  # under admin
    "10.20.0.9": "tcp/443",  # private, under inner
    "10.20.0.8": "tcp/443",  # private, and nobody's
    "192.0.2.30": "tcp/8005 tcp/443",  # revoked, and a destination's
    "192.0.2.31": "tcp/443",  # revoked
    "198.51.100.9": "tcp/8005 tcp/8011",  # a destination's
    "2001:db8:77::1": "udp/123",
    "2001:db8:88::1": "udp/123 tcp/443",  # never in DNS
    "10.10.0.10": "udp/53 tcp/53 tcp/853",  # the upstream
    "fd00:10::11": "udp/53",  # another name server
}


def cases(ports: str = "") -> list[Case]:
    """Every address, by both users, on its own ports or on these."""
    return [
        Case(user, protocol, address, int(port))
        for user in (ROOT_ID, NOBODY)
        for address, own in ADDRESSES.items()
        for protocol, _, port in (each.partition("/") for each in (ports or own).split())
    ]


def ask(agent: Agent, case: Case) -> dict[str, Any]:
    query = f"subject={quote(case.address)}&port={case.protocol}/{case.port}&user={case.user}"
    code, body = agent.get(f"/v1/explain?{query}")
    assert code == 200, body
    found: dict[str, Any] = json.loads(body)
    return found


def post(agent: Agent, path: str, **body: str) -> None:
    """As the CLI does it, without its start."""
    connection = UnixConnection(str(agent.socket), 60.0)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()


def send(lab: Lab, first: int, tried: list[Case]) -> dict[Case, str]:
    """What each program saw."""
    seen: dict[Case, str] = {}
    for user in (ROOT_ID, NOBODY):
        told = [(first + n, *case[1:]) for n, case in enumerate(tried) if case.user == user]
        argv = [lab.host.python_path, "-m", "tests.netns.explained_process"]
        ran = lab.host.run(argv, user=user or None, stdin=json.dumps(told))
        seen |= {tried[int(number) - first]: outcome for number, outcome in json.loads(ran.stdout).items()}
    return seen


@pytest.fixture(scope="module")
def served(shared_lab: Lab) -> Lab:
    require_users()
    org = Zone("example.org").a("www", "192.0.2.10").aaaa("www", "2001:db8::a")
    org.a("both", "192.0.2.14").a("flushed", "192.0.2.30").a("gone", "192.0.2.31")
    net = Zone("example.net").a("admin", "192.0.2.13").a("both", "192.0.2.14")
    shared_lab.serve(org, net, Zone("example.com").a("inner", "10.20.0.9"))
    return shared_lab


@pytest.fixture(scope="module")
def agent(served: Lab) -> Agent:
    return served.agent(SETTINGS.format(mode="enforce", dns="redirect", denied="reject", nobody=NOBODY))


NAMES = ("www.example.org", "both.example.org", "admin.example.net", "both.example.net", "inner.example.com")


def test_explained_first_packet_is_what_the_kernel_makes_of_it_in_every_mode(
    served: Lab, agent: Agent
) -> None:
    fates = compared(served, agent, cases(), WAYS[:2])
    assert fates == [{"accepted", "passed"}, {"accepted", "turned", "reset", "rejected"}]


@pytest.mark.slow
def test_explained_first_packet_on_all_ports_is_what_the_kernel_makes_of_it(
    served: Lab, agent: Agent
) -> None:
    listed = cases("tcp/22 tcp/80 tcp/443 tcp/6000 tcp/6010 tcp/6011 tcp/8000 udp/443 udp/60")
    assert compared(served, agent, listed, WAYS)[2] == {"accepted", "dropped"}
    compared(served, agent, cases("tcp/53 tcp/853 udp/51 udp/53 udp/61 udp/123 udp/5000 udp/5355"), WAYS)


WAYS = (("observe", "redirect", "reject"), ("enforce", "redirect", "reject"), ("enforce", "reject", "drop"))
"""Mode, `firewall.dns`, `firewall.denied`."""


def compared(
    served: Lab, agent: Agent, tried: list[Case], ways: tuple[tuple[str, str, str], ...]
) -> list[set[str]]:
    """What was said of the packets in each of these ways; fails where the kernel does anything else."""
    fates: list[set[str]] = []
    verdicts: list[dict[Case, str]] = []
    for mode, dns, denied in ways:
        settings = SETTINGS.format(mode=mode, dns=dns, denied=denied, nobody=NOBODY)
        agent.write_settings(settings)
        post(agent, "/v1/reload")
        for name in (*NAMES, "flushed.example.org", "gone.example.org"):
            assert served.host.addresses(name)
        assert served.host.ask("www.example.org", "AAAA").answer
        for name in ("flushed.example.org", "gone.example.org"):
            post(agent, "/v1/flush", name=name)
        told = {case: ask(agent, case) for case in tried}
        wire = served.sniffer()
        # Of its own each time: conntrack knows the others as established.
        first = next(_first)
        seen = send(served, first, tried)
        left = {packet.sport for packet in wire.stop() if packet.from_host}
        wrong = [
            f"{case}: {told[case]['packet']} ({told[case]['text']}), {seen[case]}"
            for at, case in enumerate(tried)
            if not agrees(told[case]["packet"], first + at in left, seen[case], case)
        ]
        assert not wrong, "\n".join([f"{mode}, {dns}, {denied}:", *wrong])
        verdicts.append({case: told[case]["verdict"] for case in tried})
        fates.append({told[case]["packet"] for case in tried})
    # What observe says of a packet that goes out is what enforce does with it.
    assert all(verdict == verdicts[0] for verdict in verdicts)
    return fates


_first = count(20000, 1000)


def agrees(fate: str, left: bool, seen: str, case: Case) -> bool:
    """Whether that is what the wire and the program saw."""
    match fate:
        case "accepted" | "passed":
            return left
        case "turned":
            return not left and seen == "sent"
        case "reset":
            return not left and seen == "ECONNREFUSED"
        case "rejected":
            return not left
    return not left and (seen == "timeout" or (case.protocol == "udp" and seen in ("sent", "EPERM")))


def test_explained_loopback_and_own_address_are_open(agent: Agent) -> None:
    for address in ("127.0.0.1", "::1", "10.10.1.2", "fd00:10:1::2"):
        told = ask(agent, Case(NOBODY, "tcp", address, 22))
        assert (told["packet"], told["decided"]["by"]) == ("accepted", "loopback"), told
