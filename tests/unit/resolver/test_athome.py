"""What the road answers from this host's own knowledge: localhost, reserved names, names behind leases."""

from __future__ import annotations

from ipaddress import ip_address

import dns.message
import dns.rcode
import dns.reversename
import pytest

from dynallow.lease.grant import Limits
from dynallow.policy import parse_name, parse_pattern
from dynallow.policy.policy import Policy, PolicyBuilder
from dynallow.resolver.athome import NAMES_MAX, address_of
from dynallow.resolver.local import DENIAL_TTL_S
from dynallow.resolver.terms import Terms
from tests.unit.resolver.host import DEB, WEB, Host, ede, on_host, policy, question
from tests.unit.resolver.nameserver import Nameserver, zone

CORP = parse_name("corp.example")
V4, V6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")


def reverse(address: object) -> str:
    return dns.reversename.from_address(str(address)).to_text()


def told(reply: dns.message.Message) -> tuple[str, int, set[str]]:
    """Rcode, TTL and data of the answer section."""
    data = {str(record) for rrset in reply.answer for record in rrset}
    return dns.rcode.to_text(reply.rcode()), max((rrset.ttl for rrset in reply.answer), default=0), data


def lease(host: Host, address: object, *names: str, left_s: float = 300.0) -> None:
    """Let the leases of one address be these; none ends the one that was there."""
    packed = ip_address(str(address)).packed
    held = [(parse_name(name) if name else b"", host.now + left_s) for name in names]
    host.road.earned = lambda asked, now: held if asked == packed else []


def terms(allowed: Policy = WEB, denied: str = "refused", *, observe: bool = False) -> Terms:
    return Terms(allowed, Limits(), observe, denied, (CORP,))  # type: ignore[arg-type]


def settled(*patterns: str) -> Policy:
    builder = PolicyBuilder()
    builder.set_apart([CORP])
    rule = builder.add_rule("web")
    for pattern in patterns:
        builder.add_pattern(rule, parse_pattern(pattern))
    return builder.build()


def begin(host: Host) -> None:
    """Let the store's first ten seconds begin; else it is emptied when it is first looked into."""
    host.road.repeat([], [], [], host.now)


def again(host: Host, name: str, qtype: str = "A", *, edns: bool = True) -> bytes | None:
    """What the store of denials has for the question."""
    replies: list[bytes | None] = [None]
    host.road.repeat([question(name, qtype, edns=edns)[2:]], replies, [0], host.now)
    return replies[0]


# ---------------------------------------------------------------- reserved names


@pytest.mark.parametrize("observe", [False, True])
@pytest.mark.parametrize("name", ["localhost", "A.LocalHost"])
def test_localhost_is_loopback_and_nothing_else(name: str, observe: bool) -> None:
    async def work(host: Host, server: Nameserver) -> None:
        assert told(await host.ask(name, "A")) == ("NOERROR", 3600, {"127.0.0.1"})
        assert told(await host.ask(name, "AAAA", udp=False)) == ("NOERROR", 3600, {"::1"})
        for qtype in ("TXT", "HTTPS", "PTR"):
            reply = await host.ask(name, qtype)
            assert told(reply) == ("NOERROR", 0, set())
            assert reply.authority[0].ttl == DENIAL_TTL_S
        assert not server.asked
        assert not host.gate.calls
        assert (host.road.counts.local, host.road.counts.denied) == (5, 0)

    on_host(work, observe=observe)


@pytest.mark.parametrize("observe", [False, True])
@pytest.mark.parametrize("name", ["a.invalid", "facebookcorewwwi.onion", "use-application-dns.net"])
def test_reserved_name_does_not_exist_and_is_never_asked(name: str, observe: bool) -> None:
    async def work(host: Host, server: Nameserver) -> None:
        begin(host)
        for edns in (True, False):
            reply = await host.ask(name, edns=edns)
            assert (reply.rcode(), ede(reply)) == (dns.rcode.NXDOMAIN, 15 if edns else None)
            stored = again(host, name, edns=edns)
            assert stored is not None
            assert dns.message.from_wire(b"\0\7" + stored) == reply
        assert not server.asked

    on_host(work, allowed=policy(all=f".{name.rpartition('.')[2]}"), observe=observe)


def test_observe_reserved_name_lets_its_neighbours_pass() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        begin(host)
        for _ in range(2):
            await host.ask("use-application-dns.net")
            assert again(host, "use-applicatiox-dns.net") is None
            assert told(await host.ask("use-applicatiox-dns.net"))[2] == {"192.0.2.9"}

    on_host(work, zone("use-applicatiox-dns.net 300 IN A 192.0.2.9"), observe=True)


@pytest.mark.parametrize(("name", "rcode"), [("x.onion", "NXDOMAIN"), ("x.example", "REFUSED")])
def test_refused_is_for_denied_names_not_for_reserved_ones(name: str, rcode: str) -> None:
    async def work(host: Host, server: Nameserver) -> None:
        host.road.terms = terms()
        assert told(await host.ask(name))[0] == rcode

    on_host(work)


# ---------------------------------------------------------------- names behind addresses


@pytest.mark.parametrize("address", [V4, V6], ids=str)
@pytest.mark.parametrize("udp", [True, False])
def test_reverse_of_a_leased_address_is_the_name_that_earned_it(address: object, udp: bool) -> None:
    async def work(host: Host, server: Nameserver) -> None:
        lease(host, address, DEB)
        assert told(await host.ask(reverse(address), "PTR", udp=udp)) == ("NOERROR", 60, {f"{DEB}."})
        lease(host, address, DEB, left_s=7.5)
        assert told(await host.ask(reverse(address), "PTR", udp=udp)) == ("NOERROR", 7, {f"{DEB}."})
        host.pass_time(8)
        assert told(await host.ask(reverse(address), "PTR", udp=udp)) == ("NXDOMAIN", 0, set())
        assert not server.asked

    on_host(work)


def test_reverse_of_a_lease_that_is_gone_is_told_of_no_more() -> None:
    """Nor is one that is new denied for a while: no store between question and ledger."""

    async def work(host: Host, server: Nameserver) -> None:
        name = reverse(V4)
        begin(host)
        for edns in (True, False):
            for names in ((DEB,), (), (DEB,)):
                lease(host, V4, *names)
                assert bool((await host.ask(name, "PTR", edns=edns)).answer) == bool(names)
                for other in ("2.3.0.192.in-addr.arpa", "1.2.0.192.in-addx.arpa"):  # as long: might be kin
                    await host.ask(other, "PTR", edns=edns)
                assert again(host, name, "PTR", edns=edns) is None
        assert not len(host.road.hot)

    on_host(work)


def test_reverse_of_an_address_with_several_names_is_each_once_and_bounded() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        lease(host, V4, DEB, "", DEB, "cdn.example.net")
        assert told(await host.ask(reverse(V4), "PTR"))[2] == {f"{DEB}.", "cdn.example.net."}
        lease(host, V4, *(f"n{number}.example.net" for number in range(NAMES_MAX * 2)))
        assert len(told(await host.ask(reverse(V4), "PTR"))[2]) == NAMES_MAX
        lease(host, V4, "")  # adopted, and its comment told no name
        assert told(await host.ask(reverse(V4), "PTR"))[0] == "NXDOMAIN"

    on_host(work)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_reverse_of_loopback_is_localhost(address: str) -> None:
    async def work(host: Host, server: Nameserver) -> None:
        assert told(await host.ask(reverse(address), "PTR")) == ("NOERROR", 3600, {"localhost."})

    on_host(work)


@pytest.mark.parametrize(
    ("name", "qtype", "rcode"),
    [
        ("2.2.0.192.in-addr.arpa", "PTR", "NXDOMAIN"),  # no lease
        ("0-63.2.0.192.in-addr.arpa", "PTR", "NXDOMAIN"),
        ("1.1.2.0.192.in-addr.arpa", "PTR", "NXDOMAIN"),
        ("01.2.0.192.in-addr.arpa", "PTR", "NXDOMAIN"),
        ("257.2.0.192.in-addr.arpa", "PTR", "NXDOMAIN"),
        (reverse("2001:db8::2"), "PTR", "NXDOMAIN"),
        ("1.2.0.192.in-addr.arpa", "TXT", "NOERROR"),  # the name exists
        ("2.0.192.in-addr.arpa", "PTR", "NOERROR"),  # above the leased one
        ("100.100.in-addr.arpa", "NS", "NOERROR"),
        ("in-addr.arpa", "SOA", "NOERROR"),
        ("8.b.d.0.1.0.0.2.ip6.arpa", "PTR", "NOERROR"),
    ],
)
def test_reverse_name_that_no_lease_holds_stays_home(name: str, qtype: str, rcode: str) -> None:
    async def work(host: Host, server: Nameserver) -> None:
        host.road.terms = terms()  # refused is not for these
        lease(host, V4, DEB)
        assert told(await host.ask(name, qtype)) == (rcode, 0, set())
        assert not server.asked

    on_host(work)


def test_reverse_name_that_a_rule_lists_is_asked_upstream() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        lease(host, V4, DEB)
        assert told(await host.ask(reverse(V4), "PTR"))[2] == {"from.upstream."}

    builder = PolicyBuilder()
    rule = builder.add_rule("reverse", types=frozenset((12,)))
    builder.add_pattern(rule, parse_pattern("*.2.0.192.in-addr.arpa"))
    on_host(work, zone(f"{reverse(V4)[:-1]} 300 IN PTR from.upstream."), builder.build())


def test_observe_reverse_name_is_asked_upstream() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        assert told(await host.ask(reverse(V4), "PTR"))[2] == {"from.upstream."}

    on_host(work, zone(f"{reverse(V4)[:-1]} 300 IN PTR from.upstream."), observe=True)


@pytest.mark.parametrize("address", ["0.0.0.0", "10.200.3.255", "::", "2001:db8::abcd"])
def test_address_of_a_reverse_name_is_what_dnspython_made_it_from(address: str) -> None:
    assert address_of(parse_name(reverse(address))) == ip_address(address).packed


# ---------------------------------------------------------------- search lists


@pytest.mark.parametrize("edns", [True, False])
def test_suffixed_name_does_not_exist_even_where_denied_names_are_refused(edns: bool) -> None:
    async def work(host: Host, server: Nameserver) -> None:
        host.road.terms = terms(settled(DEB))
        begin(host)
        for _ in range(2):
            assert told(await host.ask("a.b.example", edns=edns))[0] == "REFUSED"
            reply = await host.ask(f"{DEB}.corp.example", edns=edns)
            assert (reply.rcode(), ede(reply)) == (dns.rcode.NXDOMAIN, 15 if edns else None)
            stored = again(host, f"{DEB}.corp.example", edns=edns)
            assert stored is not None
            assert dns.message.from_wire(b"\0\7" + stored) == reply
            assert told(await host.ask("x.corp.example", edns=edns))[0] == "NXDOMAIN"
            assert told(await host.ask("x.corq.example", edns=edns))[0] == "REFUSED"
        assert not server.asked

    on_host(work)


def test_suffixed_name_that_a_rule_allows_is_answered() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        host.road.terms = terms(settled("git.corp.example", "wiki.git.corp.example"))
        assert told(await host.ask("git.corp.example"))[2] == {"192.0.2.7"}
        assert told(await host.ask("org.git.corp.example"))[0] == "NXDOMAIN"

    on_host(work, zone("git.corp.example 300 IN A 192.0.2.7"))


def test_suffixed_name_in_observe_mode_is_asked_upstream() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        host.road.terms = terms(settled(DEB), observe=True)
        assert told(await host.ask("git.corp.example"))[2] == {"192.0.2.7"}

    on_host(work, zone("git.corp.example 300 IN A 192.0.2.7"))
