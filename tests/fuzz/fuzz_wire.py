"""Every message that wire/ accepts dnspython accepts too, with the same addresses and TTL at the chain's end.

The other way round need not hold: wire/ is the stricter. A parser that is laxer
than another in the same host is how forged records slip through.

    python -m tests.fuzz.fuzz_wire [CASES [SEED]]

Cases are made from a corpus of honest and dishonest messages by mutations that
depend on the seed alone, so a failure is repeated by its seed and case number.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rrset

from dynallow.errors import WireError
from dynallow.wire.chain import negative, walk
from dynallow.wire.question import QuestionError, parse_question
from dynallow.wire.render import render, retold
from dynallow.wire.response import parse_response

ID = 7
QNAME = b"\x03deb\x07example\x03org\0"
_INTERESTING = (0, 1, 2, 4, 5, 6, 12, 16, 28, 33, 39, 41, 63, 64, 65, 0x7F, 0x80, 0xC0, 0xC1, 0xFF)
# Types that wire/ reads to the last byte. In others dnspython may refuse what is opaque here (ECH keys, say).
_READ_TYPES = {1, 2, 5, 6, 12, 15, 16, 28, 33, 39, 41}


class DisagreementError(Exception):
    """The invariant broke; the text tells how to see it again."""


@dataclass
class Tally:
    """How many cases went which way; a run in which nothing is accepted tests nothing."""

    cases: int = 0
    accepted: int = 0
    compared: int = 0
    questions: int = 0


def corpus() -> list[bytes]:
    """Messages to begin from: questions, chains, denials, HTTPS, referrals, an error."""
    qname = dns.name.from_wire(QNAME, 0)[0]
    found = [dns.message.make_query(qname, "A", id=ID, use_edns=edns).to_wire() for edns in (-1, 0)]
    edge = (
        "deb.example.org. 300 IN CNAME cdn.example.net.",
        "cdn.example.net. 200 IN CNAME edge.cdn.example.net.",
    )
    sections: list[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = [
        (("deb.example.org. 60 IN A 192.0.2.1",), (), ()),
        (
            (*edge, "edge.cdn.example.net. 60 IN A 192.0.2.1", "edge.cdn.example.net. 60 IN A 192.0.2.2"),
            (),
            (),
        ),
        (
            ("edge.cdn.example.net. 60 IN A 192.0.2.3", *edge, "evil.example.com. 60 IN A 192.0.2.66"),
            ("example.net. 60 IN NS ns.example.net.",),
            ("ns.example.net. 60 IN A 192.0.2.53", "ns.example.net. 60 IN AAAA 2001:db8::53"),
        ),
        (edge[:1], ("example.net. 60 IN SOA ns.example.net. root.example.net. 1 2 3 4 5",), ()),
        (
            (
                "deb.example.org. 60 IN HTTPS 1 . alpn=h2 ipv4hint=192.0.2.1 ech=AAgABgAAAAAAAA==",
                "deb.example.org. 60 IN A 192.0.2.1",
            ),
            (),
            ('x.example.org. 60 IN TXT "a" "bc"', "x.example.org. 60 IN MX 1 mx.example.org."),
        ),
        (
            (
                "x.example.org. 60 IN DNAME example.net.",
                "_a._tcp.example.org. 60 IN SRV 1 2 443 deb.example.org.",
            ),
            (),
            (),
        ),
    ]
    for edns in (-1, 0):
        query = dns.message.make_query(qname, "A", id=ID, use_edns=edns)
        for parts in sections:
            message = dns.message.make_response(query)
            for section, lines in zip(
                (message.answer, message.authority, message.additional), parts, strict=True
            ):
                section.extend(rrset(line) for line in lines)
            found.append(message.to_wire())
    return [*found, b"\0\7\x80\1" + bytes(8)]


def rrset(line: str) -> dns.rrset.RRset:
    """One record from its line in a zone file."""
    owner, ttl, rclass, rtype, rdata = line.split(maxsplit=4)
    return dns.rrset.from_text(owner, int(ttl), rclass, rtype, rdata)


def mutate(packet: bytes, seeds: list[bytes], rng: random.Random) -> bytes:
    """One to four small wounds; the id mostly stays, or nothing but the id would be tested."""
    data = bytearray(packet)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if len(data) < 3:
            break
        at = rng.randrange(2, len(data))
        match rng.randrange(8):
            case 0 | 1:
                data[at] = rng.choice(_INTERESTING)
            case 2:
                data[at] ^= 1 << rng.randrange(8)
            case 3:
                del data[at : at + rng.randint(1, 4)]
            case 4:
                data[at:at] = rng.randbytes(rng.randint(1, 4))
            case 5:
                data[at:at] = data[at : at + rng.randint(1, 40)]
            case 6:
                data[at : at + 2] = (0xC000 | rng.randrange(len(data))).to_bytes(2, "big")
            case _:
                other = rng.choice(seeds)
                data[at:] = other[rng.randrange(len(other)) :]
    if rng.random() < 0.3:
        _count_again(data, rng)
    return bytes(data)


def _count_again(data: bytearray, rng: random.Random) -> None:
    """Another answer count, in the hope that an inserted record is now told of."""
    if len(data) >= 12:
        data[7] = (data[7] + rng.choice((1, 2, 255))) % 256


def frames(packet: bytes) -> Iterator[tuple[int, int]]:
    """Type and class of each record of an accepted message, found without wire/'s code."""

    def after_name(pos: int) -> int:
        while 0 < packet[pos] < 64:
            pos += packet[pos] + 1
        return pos + (2 if packet[pos] else 1)

    pos = after_name(12) + 4
    while pos < len(packet):
        pos = after_name(pos)
        rtype, rclass, length = (int.from_bytes(packet[pos + at : pos + at + 2], "big") for at in (0, 2, 8))
        yield rtype, rclass
        pos += 10 + length


def check(packet: bytes, tally: Tally) -> None:
    """Raise DisagreementError, or let any exception but WireError out, if the invariant breaks."""
    tally.cases += 1
    try:
        question = parse_question(packet)
        tally.questions += 1
        retold(render(question.section, flags=question.flags, rcode=3, edns=True), 5)
    except QuestionError:
        pass
    try:
        response = parse_response(packet, id=ID, name=QNAME, qtype=1)
        tally.accepted += 1
        chain = walk(response, QNAME, 1)
        negative(response, chain.end)
    except WireError:
        return
    if response.questionless or any(
        kind not in _READ_TYPES or cls != 1 for kind, cls in frames(packet) if kind != 41
    ):
        return
    compare(packet, {record[3] for record in chain.final}, chain.ttl)
    tally.compared += 1


def _is_long_chain(error: Exception) -> bool:
    """Whether dnspython gave up on a name that wire/ knew from having read its parts before."""
    return type(error).__name__ == "PointerChainTooLong"


def compare(packet: bytes, addresses: set[bytes], ttl: int) -> None:
    """Raise DisagreementError unless dnspython finds `addresses` with `ttl` in `packet` as well."""
    try:
        message = dns.message.from_wire(packet, raise_on_truncation=False)
        assert isinstance(message, dns.message.QueryMessage)
        message.set_rcode(dns.rcode.NOERROR)  # else data beside NXDOMAIN is an error to the chain walk
        found = message.resolve_chaining()
    except dns.exception.DNSException as error:
        if _is_long_chain(error):
            return
        raise DisagreementError(f"dnspython refuses: {error!r}") from error
    theirs = {rdata.to_digestable() for rdata in found.answer or ()}
    if theirs != addresses or (theirs and found.minimum_ttl != ttl):
        raise DisagreementError(f"ours {addresses} ttl {ttl}, theirs {theirs} ttl {found.minimum_ttl}")


def run(cases: int, seed: int) -> Tally:
    """Try `cases` mutated messages; raises with seed, number and bytes of the first that fails."""
    rng = random.Random(seed)
    seeds = corpus()
    tally = Tally()
    for number in range(cases):
        packet = mutate(rng.choice(seeds), seeds, rng)
        try:
            check(packet, tally)
        except Exception as error:
            raise DisagreementError(f"seed {seed} case {number}: {packet.hex()}: {error!r}") from error
    return tally


if __name__ == "__main__":
    print(run(*(int(argument) for argument in [*sys.argv[1:], *("200000", "1")[len(sys.argv) - 1 :]])))
