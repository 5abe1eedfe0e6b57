"""Real validators behind the real agent: unbound and delv, which trust the lab's own root.

The internet is signed from its root down (`tests/lab/signed.py`). What is asked of the agent comes
with its real leases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from tests.lab import Lab, Zone
from tests.lab.agent import Agent
from tests.lab.certificates import Certificates
from tests.lab.needs import require, require_users
from tests.lab.recursor import Unbound
from tests.lab.resolved import Resolved, program
from tests.lab.signed import How, SignedServer, Validator
from tests.lab.topology import NAME_SERVER

pytestmark = pytest.mark.netns

RECURSOR, CHECKING = "10.10.0.14", "10.10.0.15"
BEHIND = "127.0.0.53"
DO, CD, AD = 0x8000, 0x0010, 0x0020
SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["%s"]
dnssec = %s
[[rule]]
name = "web"
names = [".example.org", "www.plain.org", "www.bogus.net"]
types = ["A", "AAAA", "CNAME", "HTTPS", "SVCB", "SRV", "TXT"]
"""
SECURE = [
    ("www.example.org", "A", "NOERROR", ["192.0.2.1"]),
    ("www.example.org", "AAAA", "NOERROR", ["2001:db8::1"]),
    ("Alias.Example.org", "A", "NOERROR", ["192.0.2.1"]),
    ("alias.example.org", "AAAA", "NOERROR", ["2001:db8::1"]),
    ("far.example.org", "A", "NOERROR", ["192.0.2.60"]),  # into a zone with NSEC3
    ("x.dname.example.org", "A", "NOERROR", ["192.0.2.62"]),
    ("y.wild.example.org", "A", "NOERROR", ["192.0.2.5"]),
    ("farwild.example.org", "A", "NOERROR", ["192.0.2.61"]),
    ("only4.example.org", "AAAA", "NOERROR", []),
    ("y.wild.example.org", "TXT", "NOERROR", []),
    ("b.deep.example.org", "A", "NOERROR", []),
    ("absent.example.org", "A", "NXDOMAIN", []),
    ("cdn.example.net", "TXT", "NOERROR", []),  # listed nowhere: `far` led there, as to the keys above it
    ("x.wild.example.net", "HTTPS", "NOERROR", []),
    ("svc.example.org", "HTTPS", "NOERROR", []),
    ("away.example.org", "HTTPS", "NOERROR", []),
    ("elsewhere.example.org", "HTTPS", "NOERROR", []),
    ("_http._tcp.example.org", "SRV", "NOERROR", []),
    ("long.example.org", "TXT", "NOERROR", []),  # with its signature no datagram takes it
]


def zones() -> dict[Zone, How]:
    org = Zone("example.org").both("www", 1).both("@", 2).a("only4", "192.0.2.3").both("*.wild", 5)
    org.cname("alias", "www").cname("far", "cdn.example.net.").cname("farwild", "x.wild.example.net.")
    org.both("a.b.deep", 4).srv("_http._tcp", 80, "www").record("dname", "DNAME", "tree.example.net.")
    org.record("svc", "HTTPS", "1 . alpn=h2 ipv4hint=192.0.2.9").record("ech", "HTTPS", "1 . ech=AAT+DQAA")
    org.record("away", "HTTPS", "0 cdn.example.net.")
    org.record("elsewhere", "HTTPS", "1 Cdn.Example.net. alpn=h2")  # the target's case is signed
    org.record("long", "TXT", *(f'"{number} {"x" * 200}"' for number in range(6)))
    org.a("private", "192.0.2.8", "10.0.0.8")
    net = Zone("example.net").both("cdn", 60).both("*.wild", 61).both("x.tree", 62)
    return {
        Zone(""): "nsec",
        Zone("org"): "many keys",
        Zone("net"): "nsec3",
        org: "nsec",
        net: "nsec3",
        Zone("plain.org").both("www", 70): "unsigned",
        Zone("bogus.net").both("www", 71): "bogus",
    }


class Internet(NamedTuple):
    """The lab with its signed zones, and a plain recursor in front of them."""

    lab: Lab
    server: SignedServer

    def ask(
        self, name: str, qtype: str, server: str = "127.0.0.1", flags: int = AD, *, tcp: bool = False
    ) -> dns.message.Message:
        query = dns.message.make_query(name, qtype, use_edns=0, payload=1232, want_dnssec=bool(flags & DO))
        query.flags |= flags & (AD | CD)
        with self.lab.host.entered():
            if tcp:
                return dns.query.tcp(query, server, timeout=30)
            return dns.query.udp_with_fallback(query, server, timeout=30)[0]

    def validator(self) -> Validator:
        """unbound on the host, which forwards to the agent."""
        behind = Validator(self.lab.host, BEHIND, "127.0.0.1", self.server.anchor())
        self.lab.cleanup(behind.stop)
        behind.wait_ready("www.plain.org")
        return behind


@pytest.fixture(scope="module")
def internet(shared_lab: Lab) -> Internet:
    require("unbound", "keymgr", "delv")
    server = SignedServer(shared_lab.internet, zones())
    shared_lab.cleanup(server.stop)
    server.wait_ready()
    recursor = Unbound(shared_lab.internet, RECURSOR, {".": NAME_SERVER[0]}, recursive=True)
    shared_lab.cleanup(recursor.stop)
    recursor.wait_ready("example.org")
    return Internet(shared_lab, server)


@pytest.fixture(scope="module")
def checking(internet: Internet) -> Validator:
    """A recursor that validates, also over TLS."""
    certificates = Certificates(internet.lab.authority)
    recursor = Validator(
        internet.lab.internet,
        CHECKING,
        NAME_SERVER[0],
        internet.server.anchor(),
        shown=certificates.good,
        recursive=True,
    )
    internet.lab.cleanup(recursor.stop)
    recursor.wait_ready("www.example.org")
    return recursor


@pytest.fixture(scope="module")
def running(internet: Internet) -> Agent:
    trusted = Certificates(internet.lab.authority).trusted
    return internet.lab.agent(SETTINGS % (RECURSOR, "true"), env={"SSL_CERT_FILE": str(trusted)})


@pytest.fixture
def agent(running: Agent) -> Agent:
    """With the plain recursor behind it."""
    return reloaded(running, RECURSOR)


@pytest.fixture
def validator(internet: Internet, agent: Agent) -> Iterator[Validator]:
    behind = internet.validator()
    yield behind
    behind.stop()


def reloaded(agent: Agent, upstream: str, dnssec: str = "true") -> Agent:
    ran = agent.reload(SETTINGS % (upstream, dnssec))
    assert ran.returncode == 0, ran
    return agent


def data(reply: dns.message.Message, qtype: str) -> list[str]:
    return [
        str(one) for rrset in reply.answer if rrset.rdtype == dns.rdatatype.from_text(qtype) for one in rrset
    ]


def denied(agent: Agent) -> float:
    found = re.search(r'^dynallow_questions_total\{outcome="denied"\} (\S+)', agent.get("/metrics")[1], re.M)
    assert found is not None
    return float(found[1])


def test_unbound_behind_the_agent_finds_approved_names_secure(
    internet: Internet, agent: Agent, validator: Validator
) -> None:
    refused = denied(agent)
    for name, qtype, rcode, addresses in SECURE:
        reply = internet.ask(name, qtype, BEHIND)
        told = (dns.rcode.to_text(reply.rcode()), bool(reply.flags & AD))
        assert told == (rcode, True), (name, qtype, reply, validator.log.read_text()[-4000:])
        if addresses:
            assert data(reply, qtype) == addresses
            held = internet.lab.host.set_elements("web_v6" if qtype == "AAAA" else "web_v4")
            assert set(addresses) <= set(held)
    assert "192.0.2.9" in internet.lab.host.set_elements("web_v4"), "the hint of an HTTPS record"
    assert denied(agent) == refused, "it has asked for nothing but names, DS and DNSKEY"


def test_unbound_behind_the_agent_tells_unsigned_bogus_altered_and_denied_apart(
    internet: Internet, agent: Agent, validator: Validator
) -> None:
    plain = internet.ask("www.plain.org", "A", BEHIND)
    assert (data(plain, "A"), bool(plain.flags & AD)) == (["192.0.2.70"], False)
    for name, qtype in (
        ("www.bogus.net", "A"),
        ("ech.example.org", "HTTPS"),  # README: what dynallow alters it cannot sign
        ("private.example.org", "A"),
        ("www.example.com", "A"),  # README: nor what it denies
    ):
        assert internet.ask(name, qtype, BEHIND).rcode() == dns.rcode.SERVFAIL, name
    # README: what the validator is told to take without proof is denied as if nobody stood between.
    assert internet.ask("www.insecure.example", "A", BEHIND).rcode() == dns.rcode.NXDOMAIN


def test_systemd_resolved_behind_the_agent_finds_approved_names_secure(
    internet: Internet, agent: Agent
) -> None:
    require_users()
    if program() is None:
        pytest.skip("not installed: systemd-resolved (.ci/setup says how)")
    refused = denied(agent)
    behind = Resolved(internet.lab.host, "127.0.0.1", internet.server.anchor())
    internet.lab.cleanup(behind.stop)
    try:
        behind.wait_ready("www.plain.org")
        for name, qtype, rcode, addresses in SECURE:
            reply = internet.ask(name, qtype, BEHIND, DO | AD)
            told = (dns.rcode.to_text(reply.rcode()), bool(reply.flags & AD), data(reply, qtype)[:1])
            assert told[:2] == (rcode, True), (name, qtype, reply, behind.log[-4000:])
            assert not addresses or told[2] == addresses
        assert not internet.ask("www.plain.org", "A", BEHIND, DO | AD).flags & AD
        assert internet.ask("www.bogus.net", "A", BEHIND, AD).rcode() == dns.rcode.SERVFAIL
    finally:
        behind.stop()
    assert denied(agent) == refused, "it has asked for nothing but names, DS and DNSKEY"


def test_delv_behind_the_agent_validates_to_the_root(internet: Internet, agent: Agent) -> None:
    tag, algorithm, kind, digest = internet.server.anchor().splitlines()[0].split()[2:]
    anchor = internet.lab.host.directory / "anchor.conf"
    anchor.write_text(f'trust-anchors {{ . static-ds {tag} {algorithm} {kind} "{digest}"; }};\n')
    for name, qtype, rcode, _ in SECURE:
        ran = internet.lab.host.run(
            ["delv", "@127.0.0.1", "-a", str(anchor), "+root=.", "+multiline", name, qtype], check=False
        )
        expected = "; fully validated" if rcode == "NOERROR" else "; negative response, fully validated"
        assert expected in ran.stdout or "; negative response, fully validated" in ran.stdout, ran


def test_keys_that_fit_no_datagram_are_truncated_and_whole_over_tcp(internet: Internet, agent: Agent) -> None:
    with internet.lab.host.entered():
        query = dns.message.make_query("org.", "DNSKEY", use_edns=0, payload=4096, want_dnssec=True)
        cut = dns.query.udp(query, "127.0.0.1", timeout=30)
    assert (bool(cut.flags & dns.flags.TC), cut.answer) == (True, [])
    whole = internet.ask("org.", "DNSKEY", flags=DO, tcp=True)
    assert len(whole.to_wire()) > 1232
    keys, signatures = whole.answer
    assert (len(keys), len(signatures)) == (8, 8)


def test_validators_are_no_use_behind_the_agent_without_the_setting(
    internet: Internet, running: Agent
) -> None:
    reloaded(running, RECURSOR, "false")
    reply = internet.ask("www.example.org", "A", flags=DO)
    assert ([rrset.rdtype for rrset in reply.answer], reply.ednsflags & DO) == ([dns.rdatatype.A], DO)
    for name, qtype in ((".", "DNSKEY"), ("org", "DS")):
        refused = internet.ask(name, qtype, flags=DO)
        assert (refused.rcode(), refused.answer) == (dns.rcode.NOERROR, []), "above an approved name: NODATA"


@pytest.mark.parametrize(
    ("upstream", "believed"), [(f"tls://{CHECKING}#dns.example.org", True), (f"tcp://{CHECKING}", False)]
)
def test_ad_of_a_validating_upstream_is_told_where_it_came_over_tls(
    internet: Internet, running: Agent, checking: Validator, upstream: str, believed: bool
) -> None:
    reloaded(running, upstream)
    for flags in (DO, AD, DO | AD):
        for _ in range(2):
            assert bool(internet.ask("www.example.org", "A", flags=flags).flags & AD) == believed
    for name, flags in (("www.example.org", 0), ("www.plain.org", AD), ("private.example.org", AD)):
        reply = internet.ask(name, "A", flags=flags)
        assert (len(data(reply, "A")), bool(reply.flags & AD)) == (1, False)


def test_bogus_data_reaches_those_alone_who_set_cd(
    internet: Internet, running: Agent, checking: Validator
) -> None:
    reloaded(running, f"tls://{CHECKING}#dns.example.org")
    for _ in range(2):
        assert internet.ask("www.bogus.net", "A", flags=AD).rcode() == dns.rcode.SERVFAIL
        reply = internet.ask("www.bogus.net", "A", flags=CD | DO)
        assert (data(reply, "A"), bool(reply.flags & AD)) == (["192.0.2.71"], False)
