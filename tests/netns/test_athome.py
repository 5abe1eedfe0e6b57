"""What the real agent answers from the host's own knowledge, and what glibc makes of it.

musl is not among the lab's programs: `_musl` follows its rules (src/network/lookup_name.c,
name_from_dns_search) over the agent's real replies.
"""

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
denied = "%s"
search-suffixes = %s
[[rule]]
name = "listed"
names = ["deb.example.org", "*.localhost"]
"""
SEARCHING = (
    "nameserver 127.0.0.1\nsearch ns.svc.cluster.example corp.example\noptions ndots:5 timeout:2 attempts:1\n"
)
SUFFIXES = '["svc.cluster.example", "corp.example"]'
LOOK_UP = """
import socket, sys
found = socket.getaddrinfo(sys.argv[1], 443, socket.AF_INET, socket.SOCK_STREAM)
print(*(one[4][0] for one in found))
"""
NAME_OF = "import socket, sys; print(socket.gethostbyaddr(sys.argv[1])[0])"


@pytest.fixture(scope="module")
def upstream(shared_lab: Lab) -> None:
    shared_lab.scripted(manyfold)


@pytest.fixture(params=[("nxdomain", "[]"), ("nxdomain", SUFFIXES), ("refused", SUFFIXES)], ids=str)
def searching(request: pytest.FixtureRequest, shared_lab: Lab, upstream: None) -> Iterator[Agent]:
    """An agent, and programs whose search list goes before the name itself, as in containers."""
    agent = shared_lab.agent(SETTINGS % request.param)
    (shared_lab.host.directory / "etc-resolv.conf").write_text(SEARCHING)
    yield agent
    agent.stop()


@pytest.fixture
def agent(shared_lab: Lab, upstream: None) -> Iterator[Agent]:
    agent = shared_lab.agent(SETTINGS % ("nxdomain", "[]"))
    yield agent
    agent.stop()


def test_search_list_before_the_name_leads_to_the_name(shared_lab: Lab, searching: Agent) -> None:
    host = shared_lab.host
    assert host.python(LOOK_UP, NAME).stdout.split() == [ADDRESS]
    assert _musl(shared_lab, NAME) == [ADDRESS]
    asked = [upstream["asked"] for upstream in searching.cli_json("status")["upstreams"]]
    assert asked == [1], "a name with a suffix has left the host"


def _musl(lab: Lab, name: str) -> list[str]:
    """The next suffix after NXDOMAIN alone: anything else without an address ends the search."""
    for suffix in (".ns.svc.cluster.example", ".corp.example", ""):
        reply = lab.host.ask(name + suffix)
        if reply.rcode() != dns.rcode.NXDOMAIN:
            return [str(record) for rrset in reply.answer for record in rrset]
    return []


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
