"""Responses as an upstream would send them: written by dnspython, read by `wire/`.

Knows both libraries. Must not know what the resolver makes of them.
"""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from dynallow.policy.names import parse_name
from dynallow.wire.response import Response, parse_response

DEB, CDN, EDGE = "deb.example.org", "cdn.example.net", "edge.cdn.example.net"
SOA = "example.org 900 IN SOA ns.example.org. root.example.org. 1 7200 900 1209600 120"


def records(*lines: str) -> list[dns.rrset.RRset]:
    """Records from lines "OWNER TTL IN TYPE RDATA", several values parted by " | ".

    One RRset each: dnspython shuffles what is in one.
    """
    found = []
    for line in lines:
        owner, ttl, _, rtype, rdata = line.split(" ", 4)
        found += [dns.rrset.from_text(f"{owner}.", int(ttl), "IN", rtype, one) for one in rdata.split(" | ")]
    return found


def packet(
    name: str, qtype: str, *answer: str, authority: tuple[str, ...] = (), rcode: str = "NOERROR", id: int = 7
) -> bytes:
    """A whole response."""
    query = dns.message.make_query(name, qtype, use_edns=0, id=id)
    reply = dns.message.make_response(query, recursion_available=True)
    reply.set_rcode(dns.rcode.from_text(rcode))
    reply.answer = records(*answer)
    reply.authority = records(*authority)
    return reply.to_wire(max_size=65535)


def response(
    name: str, qtype: str, *answer: str, authority: tuple[str, ...] = (), rcode: str = "NOERROR"
) -> Response:
    """The same, validated."""
    data = packet(name, qtype, *answer, authority=authority, rcode=rcode)
    return parse_response(data, id=7, name=parse_name(name), qtype=dns.rdatatype.from_text(qtype))
