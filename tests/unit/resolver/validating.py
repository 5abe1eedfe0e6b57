"""A client of the road that sets DO, CD and AD, and an upstream that signs and vouches.

Knows both ends; what is expected is the test's. The signatures are none: nobody here looks into them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from tests.unit.resolver.host import DEB, Host, policy
from tests.unit.resolver.nameserver import Handler
from tests.unit.resolver.responses import SOA, records

DO, CD, AD = 0x8000, 0x0010, 0x0020
ZONE = policy(web=".example.org")
"""All of the signed zone is allowed."""


def rrsig(owner: str, covered: str, signer: str = "example.org.") -> str:
    labels = owner.count(".") + 1
    return f"{owner} 300 IN RRSIG {covered} 13 {labels} 300 20380101000000 20200101000000 1 {signer} AAAA"


SIGNED = (f"{DEB} 300 IN A 192.0.2.1 | 192.0.2.2", rrsig(DEB, "A"))
NSEC = "absent.example.org 120 IN NSEC z.example.org. A RRSIG NSEC"
DENIED = (SOA, rrsig("example.org", "SOA"), NSEC, rrsig("absent.example.org", "NSEC"))


def says(*answer: str, authority: tuple[str, ...] = (), rcode: str = "NOERROR", flags: int = AD) -> Handler:
    """Answers so, to everything."""

    def handle(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
        reply = dns.message.make_response(query, recursion_available=True)
        reply.set_rcode(dns.rcode.from_text(rcode))
        reply.flags |= flags
        reply.answer, reply.authority = records(*answer), records(*authority)
        yield reply.to_wire(max_size=65535)

    return handle


def on(host: Host, *, authentic: bool = True) -> None:
    """With `dnssec = true`, and as if the server were asked over TLS."""
    host.road.terms = replace(host.road.terms, dnssec=True)
    host.upstream.authentic = authentic
    host.road.upstreams.timeout_s = 2.0  # a busy machine takes 0.2 s for a move to TCP


async def ask(
    host: Host, flags: int = DO, name: str = DEB, qtype: str = "A", **how: bool
) -> dns.message.Message:
    query = dns.message.make_query(name, qtype, use_edns=0, payload=1232, want_dnssec=bool(flags & DO), id=7)
    query.flags |= flags & (AD | CD)
    reply = await host.road.walk(query.to_wire(), udp=how.get("udp", True))
    assert reply is not None
    return dns.message.from_wire(reply)


def hot(host: Host, flags: int, name: str = DEB, qtype: str = "A") -> dns.message.Message | None:
    """What the same packet is told without the road."""
    query = dns.message.make_query(name, qtype, use_edns=0, payload=1232, want_dnssec=bool(flags & DO), id=7)
    query.flags |= flags & (AD | CD)
    (found,) = host.road.hot.find([query.to_wire()[2:]], host.now)
    return None if found is None else dns.message.from_wire(b"\0\7" + found)


def types(message: dns.message.Message) -> list[str]:
    return [dns.rdatatype.to_text(one.rdtype) for one in (*message.answer, *message.authority)]


def is_vouched_for(message: dns.message.Message) -> bool:
    return bool(message.flags & AD)
