"""Any bytes give a valid reply, silence or WireError; nothing is granted that the oracle does not find.

Three targets, each a function of bytes that raises when its invariant breaks:

    question   a client's packet, up to the reply, denied or from an answer that is there
    answer     an upstream's packet, up to the grants and the reply that is rendered from it
    control    the body of a request to the control API

Must not know where the bytes come from: `guided.py` and `test_fuzz_targets.py` bring them.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import cache
from ipaddress import ip_address, ip_network
from typing import Any, cast

import dns.edns
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
from aiohttp import web

from dynallow.control import request as control_request
from dynallow.control.connection import Limits as ControlLimits
from dynallow.errors import WireError
from dynallow.lease.grant import Grant, Limits
from dynallow.policy.patterns import parse_pattern
from dynallow.policy.policy import PolicyBuilder
from dynallow.policy.rules import Rule
from dynallow.policy.verdict import Outcome, Verdict
from dynallow.resolver.again import again
from dynallow.resolver.answer import Scope, compose, grants, proven
from dynallow.resolver.asked import Asked
from dynallow.resolver.cache import AnswerCache
from dynallow.resolver.hot import HotReplies
from dynallow.resolver.road import Road
from dynallow.resolver.terms import Terms
from dynallow.resolver.upstream.exchange import Exchange
from dynallow.resolver.upstream.pool import Upstreams
from dynallow.tasks import Tasks
from dynallow.wire.render import render
from dynallow.wire.response import Response, parse_response
from tests.fuzz import fuzz_wire
from tests.fuzz.fuzz_wire import ID, QNAME
from tests.fuzz.oracle import BrokenError, check_reply, follow, is_inside, told

_NOW = 1000.0
_LIMITS = Limits()
_NAME = dns.name.from_wire(QNAME, 0)[0]

# ---------------------------------------------------------------- question

_LISTED = ((b"example", b"org"), (b"a", b"example", b"net"))


class _NoLeaser:
    async def ensure(self, grants: Sequence[Grant]) -> frozenset[bytes]:
        raise BrokenError("a cached answer was leased again")


@cache
def _road(refused: bool) -> Road:
    builder = PolicyBuilder()
    rule = builder.add_rule("all", reason="why", types=frozenset((1, 16, 28, 65)))
    builder.add_pattern(rule, parse_pattern(".example.org"))
    builder.add_pattern(rule, parse_pattern("a.example.net"))
    return Road(
        terms=Terms(builder.build(), _LIMITS, False, "refused" if refused else "nxdomain"),
        leaser=_NoLeaser(),
        upstreams=Upstreams(Exchange(None), []),
        cache=AnswerCache(4, 0.0),
        hot=HotReplies(4),
        tasks=Tasks(),
        clock=lambda: _NOW,
        wall=lambda: _NOW,
    )


def question(packet: bytes) -> None:
    """A client's packet; three bits of its id choose transport, kind of denial and length of the answer."""
    choice = packet[0] if packet else 0
    road, udp = _road(bool(choice & 1)), not choice & 2
    road.forget()
    met = road.meet(packet, udp)
    if met is None:
        if len(packet) >= 12 and not packet[2] & 0x80:
            raise BrokenError("silence to what is no response")
        return
    if isinstance(met, bytes):
        reply = _checked(met, packet, udp)
        if (reply.answer and not _is_at_home(reply)) or (
            reply.rcode() == 0 and not reply.authority and not reply.flags & 0x0200
        ):
            raise BrokenError(f"a denial that is none: {reply}")
        if again(road, packet[2:], _NOW) not in (None, met[2:]):  # over TCP whatever way it was asked first
            raise BrokenError(f"another denial the second time: {reply}")
        return
    _check_allowed(met)
    addresses = [bytes((192, 0, 2, number)) for number in range(200 if choice & 4 else 2)]
    rdata = {1: addresses, 28: [bytes(12) + one for one in addresses], 16: [b"\3abc"]}
    name, qtype = met.question.name, met.question.qtype
    records = [(name, qtype, 60, one) for one in rdata.get(qtype, [])]
    scope = Scope(met.verdict, _LIMITS, frozenset(), True)
    response = Response(0, 0x8180, 0, tuple(records), ())
    there = compose(response, name, qtype, scope, now=_NOW, left_s=None)
    road.cache.put((name, qtype, 0, ()), there._replace(ttl_s=60, ends=_NOW + 60))
    try:
        road.answer(met).send(None)
    except StopIteration as end:
        reply = _checked(end.value, packet, udp)
        if not reply.flags & 0x0200 and sum(map(len, reply.answer)) != len(records):
            raise BrokenError(f"{len(records)} records became {reply}") from None
        same, other = road.hot.find([packet[2:]], _NOW)[0], again(road, packet[2:], _NOW)
        if not udp:
            same, other = other, same
        if other is not None or same not in (None, end.value[2:]):
            raise BrokenError(
                f"another reply the second time, or over the other transport: {reply}"
            ) from None
    else:
        raise BrokenError("waits for what is in the cache")


def _is_at_home(reply: dns.message.Message) -> bool:
    """Whether it tells of loopback, and nothing else."""
    name = reply.question[0].name
    below = any(
        name.is_subdomain(dns.name.from_text(top)) for top in ("localhost", "in-addr.arpa", "ip6.arpa")
    )
    return below and {str(one) for rrset in reply.answer for one in rrset} <= {
        "127.0.0.1",
        "::1",
        "localhost.",
    }


def _check_allowed(asked: Asked) -> None:
    """By dnspython's reading of the question, and a matching that shares no code with the policy."""
    theirs = dns.message.from_wire(asked.packet, question_only=True).question[0]
    labels = tuple(label.lower() for label in theirs.name.labels[:-1])
    listed = labels[-2:] == _LISTED[0] or labels == _LISTED[1]
    if not listed or theirs.rdclass != 1 or theirs.rdtype not in (1, 16, 28, 65):
        raise BrokenError(f"{theirs} may pass")
    if theirs.rdtype != asked.question.qtype:
        raise BrokenError(f"{theirs} was read as type {asked.question.qtype}")


def _checked(reply: bytes, packet: bytes, udp: bool) -> dns.message.Message:
    section = _section(packet)
    if section is not None and reply[4:6] == b"\0\0":  # an error may stand without what could not be read
        if not reply[3] & 0xF and not reply[11]:
            raise BrokenError("an error without the question that could be read")
        section = None
    if udp and len(reply) > 512 and len(reply) > _size(packet):
        raise BrokenError(f"{len(reply)} bytes for a client that takes {_size(packet)}")
    return check_reply(reply, packet, section)


def _section(packet: bytes) -> bytes | None:
    """The question section, if the packet has one that ends in it."""
    pos = 12
    while pos < len(packet) and 0 < packet[pos] < 64:
        pos += packet[pos] + 1
    if packet[4:6] != b"\0\1" or pos + 5 > len(packet) or packet[pos] or pos > 12 + 254:
        return None
    return packet[12 : pos + 5]


def _size(packet: bytes) -> int:
    """The largest reply over UDP; errors about what is malformed are always short."""
    try:
        theirs = dns.message.from_wire(packet, continue_on_error=True)
    except Exception:
        return 512
    return min(max(theirs.payload, 512), 1232) if theirs.edns >= 0 else 512


# ---------------------------------------------------------------- answer

QTYPES = (1, 28, 65, 5, 16, 33, 15, 64)
_PLAIN, _INSIDE = Rule(0, "plain"), Rule(1, "inside", private=(ip_network("10.0.0.0/8"),))
_OWN = ip_address("198.51.100.9").packed


def answer(data: bytes) -> None:
    """An upstream's packet, as `packed` wrote it."""
    if len(data) < 6:
        return
    choice = data[0]
    qtype = QTYPES[choice & 7]
    rules = (_PLAIN, _INSIDE) if choice & 8 else (_PLAIN,)
    packet = _unpacked(data, qtype)
    try:
        response = parse_response(packet, id=ID, name=QNAME, qtype=qtype)
        scope = Scope(Verdict(Outcome.ALLOWED, rules), _LIMITS, {_OWN}, observe=False)
        made = compose(response, QNAME, qtype, scope, now=_NOW, left_s=None)
        if choice & 32:
            made = proven(made, response, QNAME, qtype, _NOW)
    except WireError:
        return
    asked = grants(made, QNAME, _NOW)
    granted = frozenset(address for grant in asked for address in grant.addresses)
    found = follow(packet, _NAME, qtype) if granted else None
    if found is not None:
        _check_grants(asked, granted, found.addresses, found.ttl, rules)
    section = QNAME + struct.pack(">HH", qtype, 1)
    records, authority, _ = made.told(True, True)
    whole = b""
    for max_size in (65535, 1232, 512):
        if whole and len(whole) <= max_size:
            break  # it would be the same again
        template = render(
            section,
            flags=0x0100,
            rcode=made.rcode,
            records=records,
            authority=authority,
            edns=bool(choice & 16),
            ede=made.ede,
            max_size=max_size,
        )
        whole = b"\0\7" + template[0]
        if len(whole) > max_size:
            raise BrokenError(f"{len(whole)} bytes for a client that takes {max_size}")
        reply = check_reply(whole, b"\0\7\1\0", section)
        truncated = bool(reply.flags & 0x0200)
        if not truncated and qtype in (1, 28, 64, 65) and told(reply) != granted:
            raise BrokenError(f"told {told(reply)}, granted {granted}")
        if truncated and max_size == 65535 and len(packet) < 20000:
            raise BrokenError("a short answer does not fit 64 KiB")
        if truncated:
            whole = b""


def _check_grants(
    asked: list[Grant], granted: frozenset[bytes], found: frozenset[bytes], ttl: int, rules: tuple[Rule, ...]
) -> None:
    if not granted <= found:
        raise BrokenError(f"granted {granted - found}, which is not on the chain")
    if any(grant.ttl_s > ttl for grant in asked):
        raise BrokenError(f"told longer than {ttl} s")
    if _OWN in granted or len(granted) > _LIMITS.max_addresses_per_name:
        raise BrokenError("the host's own address, or too many")
    for rule, address in ((grant.rule, address) for grant in asked for address in grant.addresses):
        allowed = rule == "inside" and address[:1] == b"\x0a" and len(address) == 4
        if is_inside(address) and not allowed:
            raise BrokenError(f"{ip_address(address)} granted to {rule}")


def packed(packet: bytes, choice: int) -> bytes:
    """A message as input: choice, flags, counts, and what stands behind the question.

    The question itself is left out: a mutation that breaks it would only show that it is compared.
    """
    counts = bytes((packet[7], packet[9], packet[11]))
    return bytes([choice]) + packet[2:4] + counts + packet[12 + len(QNAME) + 4 :]


def _unpacked(data: bytes, qtype: int) -> bytes:
    if data[0] & 0x80:  # as it is: all but the id may be wrong
        return struct.pack(">H", ID) + data[1:]
    answers, authorities, additionals = data[3:6]
    head = struct.pack(">H2s4H", ID, data[1:3], 1, answers, authorities, additionals)
    return head + QNAME + struct.pack(">HH", qtype, 1) + data[6:]


# ---------------------------------------------------------------- control

_KNOWN = ("rule", "name", "mode")


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def control(body: bytes) -> None:
    """The body of a POST: known keys with texts that are not empty, or a refusal with its status."""
    words: Any
    try:
        words = _loop().run_until_complete(_read_body(body))
    except control_request.RequestRefused as refusal:
        if refusal.status not in (400, 413, 415):
            raise BrokenError(f"status {refusal.status}") from refusal
        return
    if not set(words) <= set(_KNOWN) or not all(isinstance(text, str) and text for text in words.values()):
        raise BrokenError(f"{words} passed")


class _Request:
    """As much of aiohttp's request as `control.request.body` looks at."""

    content_type = "application/json"

    def __init__(self, body: bytes) -> None:
        self.content_length = len(body)
        self.content = self
        self._body = body

    async def iter_any(self) -> AsyncIterator[bytes]:
        """The body in two parts."""
        half = len(self._body) // 2
        yield self._body[:half]
        yield self._body[half:]


async def _read_body(body: bytes) -> dict[str, str]:
    request = cast(web.BaseRequest, _Request(body))
    return await control_request.body(request, _KNOWN, ControlLimits())


# ---------------------------------------------------------------- seeds

TARGETS: dict[str, Callable[[bytes], None]] = {"question": question, "answer": answer, "control": control}


def seeds(target: str) -> list[bytes]:
    """Inputs to begin from: each kind of message once."""
    return list({"question": _questions, "answer": _answers, "control": _bodies}[target]())


def _questions() -> Iterator[bytes]:
    names = ("deb.example.org.", "DEB.Example.ORG.", "example.org.", "a.example.net.", "b.a.example.net.")
    for number, name in enumerate((*names, "example.net.", "www.example.com.", ".", "_s._tcp.example.org.")):
        for qtype in ("A", "AAAA", "TXT", "HTTPS", "SRV", "ANY"):
            query = dns.message.make_query(name, qtype, id=(number % 8) << 8, use_edns=number % 3 - 1)
            yield query.to_wire()
    query = dns.message.make_query("deb.example.org", "A", id=0x0400)
    options: list[dns.edns.Option] = [
        dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"cookie78"),
        dns.edns.ECSOption("192.0.2.0"),
    ]
    query.use_edns(0, 0x8000, 4096, options=options)
    yield query.to_wire()
    query.use_edns(1)
    yield query.to_wire()
    yield from (head + query.to_wire()[4:] for head in (b"\0\1\x28\0", b"\0\1\x81\x80", b"\0\1\x10\0"))


def _answers() -> Iterator[bytes]:
    for packet in fuzz_wire.corpus():
        if len(packet) > 40:
            for choice in (0, 2, 8, 16, 24, 48):
                yield packed(packet, choice)
            yield bytes([0x80]) + packet[2:]
    for rtype, rdata in (
        ("AAAA", "2001:db8::1"),
        ("HTTPS", "1 . alpn=h2,h3 port=8443 ipv4hint=192.0.2.1,10.0.0.1 ipv6hint=2001:db8::1 key65000=x"),
        ("CNAME", "cdn.example.net."),
        ("TXT", '"a" "bc"'),
        ("SRV", "1 2 443 cdn.example.net."),
        ("MX", "10 mx.example.net."),
        ("SVCB", "1 . mandatory=alpn alpn=h2 ipv4hint=192.0.2.7"),
    ):
        query = dns.message.make_query(_NAME, rtype, id=ID, use_edns=0)
        reply = dns.message.make_response(query)
        reply.answer.append(fuzz_wire.rrset(f"deb.example.org. 60 IN {rtype} {rdata}"))
        yield packed(reply.to_wire(), QTYPES.index(dns.rdatatype.from_text(rtype)))

    signed = "8 3 300 20380101000000 20200101000000 1 example.org. AAAA"
    nsec = (
        "example.org. 60 IN NSEC z.example.org. A RRSIG NSEC TYPE300",
        "a.example.org. 60 IN NSEC3 1 0 0 ab 00 A",
    )
    for rcode in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        reply = dns.message.make_response(dns.message.make_query(_NAME, "A", id=ID, use_edns=0))
        reply.set_rcode(rcode)
        lines = ["deb.example.org. 60 IN CNAME deb.example.net.", "example.org. 60 IN DNAME example.net."]
        lines += ["deb.example.net. 60 IN A 192.0.2.1"] if not rcode else []
        for line in lines:
            owner, rtype = line.split()[:4:3]
            signature = fuzz_wire.rrset(f"{owner} 60 IN RRSIG {rtype} {signed}")
            reply.answer += [fuzz_wire.rrset(line), signature]
        for line in ("example.org. 60 IN SOA ns.example.org. root.example.org. 1 2 3 4 5", *nsec):
            owner, rtype = line.split()[:4:3]
            signature = fuzz_wire.rrset(f"{owner} 60 IN RRSIG {rtype} {signed}")
            reply.authority += [fuzz_wire.rrset(line), signature]
        for choice in (32, 48):
            yield packed(reply.to_wire(), choice)


def _bodies() -> Iterator[bytes]:
    yield b'{"rule": "web", "name": null}'
    yield b'{"mode": "enforce", "mode": "observe"}'
    yield b'{"r\\u0075le": "\\ud800"}'
    yield b'{"rule": ["x", 1.5e3, true, {}]}'
    yield from (b"", b"[]", b"{", b"null", b"\xef\xbb\xbf{}", '{"name": "\U0001f600"}'.encode("utf-16"))
