"""What the real agent answers from the host's own knowledge, and what glibc makes of it."""

from __future__ import annotations

from collections.abc import Iterator

import dns.rcode
import dns.reversename
import pytest

from tests.lab import Lab
from tests.lab.agent import Agent
from tests.netns.manyfold import manyfold

pytestmark = pytest.mark.netns

NAME, ADDRESS = "deb.example.org", "192.0.2.1"
SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.12"]
[[rule]]
name = "listed"
names = ["deb.example.org", "*.localhost"]
"""
NAME_OF = "import socket, sys; print(socket.gethostbyaddr(sys.argv[1])[0])"


@pytest.fixture(scope="module")
def upstream(shared_lab: Lab) -> None:
    shared_lab.scripted(manyfold)


@pytest.fixture
def agent(shared_lab: Lab, upstream: None) -> Iterator[Agent]:
    agent = shared_lab.agent(SETTINGS)
    yield agent
    agent.stop()


def test_reverse_look_up_of_a_leased_address_is_its_name_until_it_is_flushed(
    shared_lab: Lab, agent: Agent
) -> None:
    host = shared_lab.host
    reverse = dns.reversename.from_address(ADDRESS).to_text()
    assert agent.cli("flush").returncode == 0  # what an earlier agent left is adopted
    assert host.ask(reverse, "PTR").rcode() == dns.rcode.NXDOMAIN
    assert host.addresses(NAME) == [ADDRESS]
    assert host.python(NAME_OF, ADDRESS).stdout.strip() == NAME
    assert host.ask(reverse, "PTR").answer[0].ttl in range(1, 61)
    assert agent.cli("flush").returncode == 0
    assert host.ask(reverse, "PTR").rcode() == dns.rcode.NXDOMAIN


def test_localhost_is_loopback_although_a_rule_lists_it(shared_lab: Lab, agent: Agent) -> None:
    host = shared_lab.host
    for name in ("localhost", "web.localhost"):
        assert host.addresses(name) == ["127.0.0.1"]
        assert host.addresses(name, "AAAA", "::1") == ["::1"]
        assert not host.ask(name, "TXT").answer
    for name in ("x.invalid", "x.onion", "use-application-dns.net"):
        assert host.ask(name).rcode() == dns.rcode.NXDOMAIN
    assert [upstream["asked"] for upstream in agent.cli_json("status")["upstreams"]] == [0]


def test_explain_tells_what_is_answered_here_and_what_is_in_the_hosts_file(
    shared_lab: Lab, agent: Agent
) -> None:
    told = agent.cli_json("explain", "localhost")
    assert (told["verdict"], told["hosts"]) == ("allowed", ["127.0.0.1", "::1"])
    assert "answered here, whatever rules say" in told["text"]
    assert "/etc/hosts says 127.0.0.1, ::1" in agent.cli("explain", "LOCALHOST.").stdout
    told = agent.cli_json("explain", "x.onion")
    assert (told["verdict"], told["hosts"]) == ("denied", [])
