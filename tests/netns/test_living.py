"""A name is asked for again, by the agent itself, while a flow to an address of its lives.

Needs the lab: real flows, TCP and UDP (as QUIC), IPv4 and IPv6. Leases of nine seconds, whose names are asked
for in the last half of them.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.lab import Lab, LabError, ScriptedServer, wait_until
from tests.lab.agent import Agent
from tests.lab.scenarios import table
from tests.lab.waiting import TooSlowError
from tests.netns.cutting import process, say

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.12"]
stale = "0s"
[lease]
grace = "0s"
min = "9s"
keep-alive = {keep}
[[rule]]
name = "web"
names = ["{name}"]
ports = ["tcp/6001", "udp/6001"]
[[rule]]
name = "other"
names = ["elsewhere.example.net"]
ports = ["tcp/6002", "udp/6002"]
"""
ANSWERS = {
    "www.example.org": ["192.0.2.10", "2001:db8::a"],
    "idle.example.org": ["192.0.2.20"],
    "moves.example.org": ["192.0.2.30", "2001:db8::1e"],
    "elsewhere.example.net": ["192.0.2.10"],
}
KEPT = {"keep": "true", "name": "*.example.org"}


@pytest.fixture(scope="module")
def server(shared_lab: Lab) -> ScriptedServer:
    # A datagram flow that has ended is forgotten after five seconds, not two minutes.
    names = ("udp_timeout", "udp_timeout_stream")
    shared_lab.host.sysctl(**{f"netfilter__nf_conntrack_{name}": 5 for name in names})
    return shared_lab.scripted(table, ttl=1, answers=ANSWERS)


@pytest.fixture(scope="module")
def agent(shared_lab: Lab, server: ScriptedServer) -> Agent:
    return shared_lab.agent(SETTINGS.format(**KEPT))


@contextmanager
def talking(
    lab: Lab, *addresses: str, names: Sequence[str] = (), port: int = 6001, count: int = 2
) -> Iterator[subprocess.Popen[str]]:
    """Flows that go on all the time, TCP and UDP; once each was answered the names are asked for again."""
    groups = [[protocol, address, port, count] for address in addresses for protocol in ("tcp", "udp")]
    with process(lab.host, "flows_process", json.dumps(groups), "wait") as started:
        assert started.stdin is not None
        assert started.stdout is not None
        resolve(lab, *names)
        started.stdin.write("go\n")
        started.stdin.flush()
        assert started.stdout.readline() == "ready\n"
        resolve(lab, *names)
        yield started


def resolve(lab: Lab, *names: str) -> None:
    for name in names:
        for kind in ("A", "AAAA"):
            lab.host.ask(name, kind)


def held(lab: Lab) -> set[str]:
    return set(lab.host.set_elements("web_v4")) | set(lab.host.set_elements("web_v6"))


def counted(agent: Agent, outcome: str) -> int:
    text = agent.get("/metrics")[1]
    found = re.search(rf'^dynallow_living_names_total{{outcome="{outcome}"}} (\S+)$', text, re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


def test_name_is_asked_again_while_a_flow_lives_and_lapses_when_it_has_moved_or_the_flow_ended(
    shared_lab: Lab, server: ScriptedServer, agent: Agent
) -> None:
    www, moved = ANSWERS["www.example.org"], ANSWERS["moves.example.org"]
    resolve(shared_lab, "idle.example.org")
    idle = server.queries("idle.example.org", "A")
    with talking(shared_lab, *moved, names=["moves.example.org"]) as lasting:
        with talking(shared_lab, *www, names=["www.example.org"]):
            kept = counted(agent, "kept")
            asked = {kind: server.queries("www.example.org", kind) for kind in ("A", "AAAA")}
            # Through two lives of the lease and more, in which no client asks for anything.
            for kind, number in asked.items():
                wait_until(
                    lambda kind=kind, number=number: server.queries("www.example.org", kind) > number + 2,  # type: ignore[misc]
                    "the agent asking",
                )
            # Waited for: a dump may miss what lives while others lapse.
            wait_until(lambda: set(www) <= held(shared_lab), "the leases")
            with talking(shared_lab, *www, count=1):
                pass  # new connections to it, TCP and UDP, without a question: they were answered
            wait_until(lambda: "192.0.2.20" not in held(shared_lab), "the end of the lease that nobody uses")
            assert server.queries("idle.example.org", "A") == idle
            assert counted(agent, "kept") >= kept + 2
            server.turn(answers={**ANSWERS, "moves.example.org": ["192.0.2.40", "2001:db8::28"]})
            wait_until(lambda: not held(shared_lab) & set(moved), "the end of the leases that nothing gives")
        refused = shared_lab.host.python(
            "import socket; socket.create_connection(('192.0.2.30', 6001), 5)", check=False
        )
        assert refused.returncode != 0
        received = [group["received"] for group in say(lasting)]
        wait_until(
            lambda: all(g["received"] > n for g, n in zip(say(lasting), received, strict=True)),
            "established flows, which live on",
        )
        assert [group["alive"] for group in say(lasting)] == [2] * 4
        wait_until(lambda: not held(shared_lab) & set(www), "the end of the leases that nobody uses")
    server.turn(answers=ANSWERS)


def test_switched_off_the_lease_lapses_and_its_flows_end_with_the_rule(
    shared_lab: Lab, server: ScriptedServer, agent: Agent
) -> None:
    assert agent.reload(SETTINGS.format(keep="false", name="*.example.org")).returncode == 0
    asked = counted(agent, "asked")
    www = ANSWERS["www.example.org"]
    with talking(shared_lab, *www, names=["www.example.org"]) as lasting:
        wait_until(lambda: not held(shared_lab) & set(www), "the end of the leases")
        received = [group["received"] for group in say(lasting)]
        wait_until(
            lambda: all(g["received"] > n for g, n in zip(say(lasting), received, strict=True)),
            "established flows, which live on",
        )
        assert counted(agent, "asked") == asked
        # The lease is gone, but the rule still was their reason.
        assert agent.reload(SETTINGS.format(keep="true", name="no.example.org")).returncode == 0
        wait_until(lambda: [group["alive"] for group in say(lasting)] == [0] * 4, "their end")


def test_flow_on_another_rules_port_keeps_no_lease_of_this_rule(
    shared_lab: Lab, server: ScriptedServer, agent: Agent
) -> None:
    assert agent.reload(SETTINGS.format(**KEPT)).returncode == 0
    names = ["www.example.org", "elsewhere.example.net"]
    with talking(shared_lab, "192.0.2.10", names=names, port=6002, count=1):
        asked, kept = server.queries("elsewhere.example.net", "A"), counted(agent, "kept")
        wait_until(lambda: server.queries("elsewhere.example.net", "A") > asked + 1, "the agent asking")
        # Each of them keeps a whole lease, though the TTL, of a second, would end long before it.
        wait_until(lambda: counted(agent, "kept") >= kept + 2, "the lease, kept twice")
        wait_until(
            lambda: "192.0.2.10" not in shared_lab.host.set_elements("web_v4"), "the other lease's end"
        )
        try:  # waited for: a dump may miss what lives while others lapse
            wait_until(lambda: "192.0.2.10" in shared_lab.host.set_elements("other_v4"), "this one's", 5.0)
        except LabError:  # on a machine that stands still for seconds a lease of nine may lapse, too
            raise TooSlowError("this one's lease has lapsed") from None
