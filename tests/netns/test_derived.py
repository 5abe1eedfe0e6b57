"""Derived names, the whole way: asked for after the answer that names them, leased, reachable, and over."""

from __future__ import annotations

import re
from collections.abc import Iterator

import dns.rcode
import dns.rdatatype
import dns.reversename
import pytest

from tests.lab import Lab, Namespace, Zone, wait_until
from tests.lab.agent import Agent
from tests.netns.asking import V4, V6, Client, ede_of

pytestmark = pytest.mark.netns

MIRROR, EDGE, FAR = "mirror.example.org", "edge.cdn.example.org", "far.cdn.example.org"
SERVICE = f"_http._tcp.{MIRROR}"
CAP, AT_ONCE = 1024, 32
MANY = [f"_s{number}._tcp.{MIRROR}" for number in range(CAP // AT_ONCE + 1)]
SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10"]
[lease]
%s
[[rule]]
name = "web"
names = ["mirror.example.org"]
except = ["except.cdn.example.org"]
ports = ["tcp/80"]
%s
"""
OTHER_RULE = """
[[rule]]
name = "other"
names = ["other.example.org"]
ports = ["tcp/443"]
"""


def zone() -> Zone:
    built = Zone("example.org").cname("mirror", "edge.cdn").both("edge.cdn", 20).both("far.cdn", 21)
    built.srv("_http._tcp.mirror", 80, "far.cdn")
    built.record("_two._tcp.mirror", "SRV", "0 0 80 except.cdn", "1 0 80 far.cdn").both("except.cdn", 22)
    for number, service in enumerate(MANY):
        name = service.removesuffix(".example.org")
        built.record(name, "SRV", *(f"0 0 80 t{number}-{target}.cdn" for target in range(AT_ONCE)))
    return built.record("*.cdn", "A", "192.0.2.30")


@pytest.fixture(scope="module")
def upstream(shared_lab: Lab) -> None:
    shared_lab.serve(zone(), services(), quick())


def services() -> Zone:
    """HTTPS records: an alias, and a service elsewhere."""
    built = Zone("example.net").record("alias", "HTTPS", "0 pool").record("pool", "HTTPS", "1 node alpn=h2")
    built.both("node", 40).both("pool", 41)
    hints = "alpn=h2 port=443 ipv4hint=192.0.2.42,10.9.9.9 ech=AAT+DQAA"
    return built.record("direct", "HTTPS", f"1 node {hints}", "2 x.onion. alpn=h2")


def quick() -> Zone:
    """What is over in a moment."""
    return Zone("example.com").cname("quick", "edge.pool", ttl=1).a("edge.pool", "192.0.2.50", ttl=1)


@pytest.fixture(scope="module")
def started(shared_lab: Lab, upstream: None) -> Iterator[Agent]:
    agent = shared_lab.agent('mode = "enforce"\n')
    yield agent
    assert "Traceback" not in agent.log, agent.log


@pytest.fixture
def agent(started: Agent) -> Agent:
    """Without a rule for a moment, so that neither leases nor derived names are left of the test before."""
    for settings in ('mode = "enforce"\n', SETTINGS % ("", "")):
        assert started.reload(settings).returncode == 0
    return started


@pytest.fixture
def client(shared_lab: Lab) -> Iterator[Client]:
    opened = Client(shared_lab.host)
    yield opened
    opened.close()


def rcodes(client: Client, name: str) -> set[str]:
    """Of A and AAAA, over UDP and TCP, at both addresses."""
    return {
        client.ask(name, qtype, server, tcp=tcp).rcode
        for qtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
        for server in (V4, V6)
        for tcp in (False, True)
    }


def reaches(host: Namespace, address: str, port: int = 80) -> bool:
    code = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.5).close()"
    return host.python(code, address, str(port), check=False).returncode == 0


def asked(agent: Agent) -> int:
    upstreams: list[dict[str, int]] = agent.cli_json("status")["upstreams"]
    return sum(upstream["asked"] for upstream in upstreams)


def metric(agent: Agent, line: str) -> float:
    found = re.search(rf"^{re.escape(line)} (\S+)$", agent.get("/metrics")[1], re.MULTILINE)
    assert found is not None, line
    return float(found[1])


# ---------------------------------------------------------------- CNAME, SRV


def test_cname_target_is_denied_before_and_answered_and_leased_after(
    shared_lab: Lab, agent: Agent, client: Client
) -> None:
    host = shared_lab.host
    assert rcodes(client, EDGE) == {"NXDOMAIN"}
    assert asked(agent) == 0, "a denied name has left the host"
    assert client.ask(MIRROR).addresses.keys() == {"192.0.2.20"}
    assert rcodes(client, EDGE) == {"NOERROR"}
    assert rcodes(client, "else.cdn.example.org") == {"NXDOMAIN"}
    for server in (V4, V6):
        for tcp in (False, True):
            assert client.ask(EDGE, dns.rdatatype.A, server, tcp=tcp).addresses.keys() == {"192.0.2.20"}
    assert client.ask(EDGE, dns.rdatatype.AAAA).addresses.keys() == {"2001:db8::14"}
    assert reaches(host, "192.0.2.20")
    assert reaches(host, "2001:db8::14")
    for name, address in (("web_v4", "192.0.2.20"), ("web_v6", "2001:db8::14")):
        assert host.set_elements(name)[address].comment == MIRROR
    told = client.ask(EDGE, dns.rdatatype.TXT)
    assert (told.rcode, ede_of(told)[0][0]) == ("NOERROR", 17)


def test_services_target_is_under_the_domains_rule_and_told_by_explain_ptr_and_flush(
    shared_lab: Lab, agent: Agent, client: Client
) -> None:
    host = shared_lab.host
    assert rcodes(client, FAR) == {"NXDOMAIN"}
    assert agent.cli("explain", FAR).returncode == 5
    assert len(client.ask(SERVICE, dns.rdatatype.SRV).message.answer) == 1
    assert rcodes(client, FAR) == {"NOERROR"}
    assert reaches(host, "192.0.2.21")
    reverse = client.ask(dns.reversename.from_address("192.0.2.21").to_text().rstrip("."), dns.rdatatype.PTR)
    assert str(reverse.message.answer[0][0]) == f"{MIRROR}."
    told = agent.cli_json("explain", FAR)
    assert told["verdict"] == "allowed"
    assert [(lead["rule"], lead["root"], lead["steps"]) for lead in told["derived"]] == [("web", MIRROR, 1)]
    assert 350 < told["derived"][0]["expires_in_s"] <= 360
    assert {lease["address"] for lease in told["leases"]} == {"192.0.2.21", "2001:db8::15"}
    assert f"{MIRROR} led to it under web, for 5m" in agent.cli("explain", FAR).stdout
    assert metric(agent, 'dynallow_derived_names{rule="web"}') == 1
    assert agent.cli("flush", "--name", MIRROR).returncode == 0
    assert not reaches(host, "192.0.2.21")
    assert rcodes(client, FAR) == {"NOERROR"}
    assert reaches(host, "192.0.2.21")


def test_target_that_the_rule_excepts_stays_denied(agent: Agent, client: Client) -> None:
    assert client.ask(f"_two._tcp.{MIRROR}", dns.rdatatype.SRV).message.answer
    assert client.ask(FAR).addresses
    assert rcodes(client, "except.cdn.example.org") == {"NXDOMAIN"}


# ---------------------------------------------------------------- HTTPS

HTTPS_RULE = """
[[rule]]
name = "pages"
names = ["alias.example.net", "direct.example.net"]
"""


def test_https_alias_and_service_elsewhere_are_told_and_lead_to_their_targets(
    shared_lab: Lab, agent: Agent, client: Client
) -> None:
    host = shared_lab.host
    assert agent.reload(SETTINGS % ("", HTTPS_RULE)).returncode == 0
    for name in ("pool", "node"):
        assert client.ask(f"{name}.example.net").rcode == "NXDOMAIN"
    (alias,) = client.ask("alias.example.net", dns.rdatatype.HTTPS).message.answer[0]
    assert str(alias) == "0 pool.example.net."
    (service,) = client.ask("pool.example.net", dns.rdatatype.HTTPS).message.answer[0]
    assert str(service) == '1 node.example.net. alpn="h2"'
    assert client.ask("node.example.net").addresses.keys() == {"192.0.2.40"}
    assert reaches(host, "192.0.2.40", 443)
    assert host.set_elements("pages_v4")["192.0.2.40"].comment == "alias.example.net"
    (direct,) = client.ask("direct.example.net", dns.rdatatype.HTTPS).message.answer[0]
    assert str(direct) == '1 node.example.net. alpn="h2" port="443" ipv4hint="192.0.2.42"'
    assert reaches(host, "192.0.2.42", 443)
    assert not reaches(host, "10.9.9.9", 443)


# ---------------------------------------------------------------- ends, changes


QUICK_RULE = """
[[rule]]
name = "quick"
names = ["quick.example.com"]
ports = ["tcp/80"]
"""


def test_derived_name_ends_with_the_record_that_named_it_and_comes_back_with_it(
    shared_lab: Lab, agent: Agent, client: Client
) -> None:
    target = "edge.pool.example.com"
    assert agent.reload(SETTINGS % ('grace = "1s"\nmin = "1s"', QUICK_RULE)).returncode == 0
    assert client.ask("quick.example.com").addresses
    assert client.ask(target).addresses
    for tcp in (False, True):
        wait_until(lambda tcp=tcp: client.ask(target, tcp=tcp).rcode == "NXDOMAIN", "its end", 5)  # type: ignore[misc]
    wait_until(lambda: not reaches(shared_lab.host, "192.0.2.50"), "the lease's end", 5)
    assert client.ask("quick.example.com").addresses
    assert client.ask(target).addresses
    assert reaches(shared_lab.host, "192.0.2.50")


def test_reload_that_takes_the_listed_name_away_revokes_what_it_led_to(
    shared_lab: Lab, agent: Agent, client: Client
) -> None:
    host = shared_lab.host
    client.ask(SERVICE, dns.rdatatype.SRV)
    assert client.ask(FAR).addresses
    assert agent.reload(SETTINGS % ('grace = "2m"', OTHER_RULE)).returncode == 0
    assert reaches(host, "192.0.2.21"), "the rule still lists the name that led to it"
    assert rcodes(client, FAR) == {"NOERROR"}
    changed = (SETTINGS % ("", OTHER_RULE)).replace(f'"{MIRROR}"', '"new.example.org"')
    assert agent.reload(changed).returncode == 0
    assert not reaches(host, "192.0.2.21")
    assert host.set_elements("web_v4") == {}
    assert rcodes(client, FAR) == {"NXDOMAIN"}


def test_restart_adopts_the_leases_of_derived_names(shared_lab: Lab, agent: Agent, client: Client) -> None:
    host = shared_lab.host
    client.ask(SERVICE, dns.rdatatype.SRV)
    assert client.ask(FAR).addresses
    agent.kill()
    assert reaches(host, "192.0.2.21")
    agent.start()
    assert reaches(host, "192.0.2.21")
    assert host.set_elements("web_v4")["192.0.2.21"].comment == MIRROR
    assert client.ask(FAR).rcode == "NXDOMAIN", "who asks for the listed name again, finds it again"
    client.ask(SERVICE, dns.rdatatype.SRV)
    assert client.ask(FAR).addresses
    agent.kill()
    agent.write_settings((SETTINGS % ("", "")).replace(f'"{MIRROR}"', '"new.example.org"'))
    agent.start()
    assert not reaches(host, "192.0.2.21"), "the settings changed while no agent ran"


# ---------------------------------------------------------------- how many


def test_more_targets_than_the_cap_drop_the_oldest_and_are_counted(agent: Agent, client: Client) -> None:
    for number, service in enumerate(MANY):
        told = client.ask(service, dns.rdatatype.SRV)
        assert len(told.message.answer[0]) == AT_ONCE, service
        assert metric(agent, 'dynallow_derived_names{rule="web"}') == min((number + 1) * AT_ONCE, CAP)
    assert metric(agent, 'dynallow_derived_evicted_total{rule="web"}') == len(MANY) * AT_ONCE - CAP
    assert client.ask("t0-0.cdn.example.org").rcode == "NXDOMAIN"
    for name in ("t1-0", f"t{CAP // AT_ONCE}-{AT_ONCE - 1}"):
        assert client.ask(f"{name}.cdn.example.org").addresses.keys() == {"192.0.2.30"}
