"""The questions of `test_forwarder.py`, and the zones that they are about. Pure.

Each probe belongs to a kind. Differences are explained by kind, never by name,
so a kind holds questions that a resolver must treat alike.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

import dns.flags
import dns.message

from tests.lab.topology import NAME_SERVER, OTHER_NAME_SERVER
from tests.lab.zone import Zone

ORIGIN, OTHER = "example.org", "example.net"
HALF = "half.example.org"
"""Asked at the name server itself, which is no recursor."""
RECURSOR = OTHER_NAME_SERVER[0]
NUMBERED = 3000
ODD_TYPES = ("TXT", "MX", "CAA", "NAPTR", "TLSA", "SSHFP", "LOC", "TYPE65280")
SETTINGS = f"""
mode = "enforce"
[resolver]
upstreams = ["{RECURSOR}"]
[[resolver.zone]]
names = [".{HALF}"]
upstreams = ["{NAME_SERVER[0]}"]
[[rule]]
name = "all"
names = [".{ORIGIN}"]
types = {json.dumps(["A", "AAAA", "CNAME", "HTTPS", "SVCB", "SRV", "NS", "SOA", "PTR", *ODD_TYPES])}
"""
_LONG = ".".join(["x" * 63] * 3 + ["y" * 49])  # with .example.org. 255 bytes
_SPECIAL = ("10.1.2.3", "127.0.0.1", "169.254.1.1", "192.168.1.1", "100.64.0.1", "240.0.0.1")


class Probe(NamedTuple):
    """One question as a client asks it; `edns` is the size it offers, None for no EDNS at all."""

    kind: str
    name: str
    rtype: str
    edns: int | None = 1232
    flags: int = dns.flags.RD
    do: bool = False
    tcp: bool = False

    def wire(self, ident: int) -> bytes:
        message = dns.message.make_query(self.name, self.rtype, id=ident)
        if self.edns is not None:
            message.use_edns(0, dns.flags.DO if self.do else 0, self.edns)
        message.flags = dns.flags.Flag(self.flags)
        return message.to_wire()


def zones() -> list[Zone]:
    """What the name server serves."""
    zone = Zone(ORIGIN).numbered(NUMBERED).both("@", 1).both("www", 2).a("only4", "192.0.2.3")
    zone.aaaa("only6", "2001:db8::3").both("a.b.c.deep", 4).both("*.wild", 5).both("short", 6, ttl=7)
    zone.cname("*.wildcname", "www.example.org.").both(_LONG, 7).both("under_score", 8)
    for length in range(1, 11):
        zone.chain(f"chain{length}", length, "192.0.2.20", "192.0.2.21", ttl=60 + length)
    zone.chain("toolong", 14, "192.0.2.22").cname("loop1", "loop2").cname("loop2", "loop1")
    zone.cname("far", f"far.{OTHER}.").cname("farnx", f"absent.{OTHER}.").cname("nodata", "only4")
    zone.cname("far.half", f"far.{OTHER}.").cname("dangling", "www.example.com.").record(
        "dname", "DNAME", f"tree.{OTHER}."
    )
    for count in (10, 40, 80, 120, 200):
        zone.large(f"large{count}", "198.51.100.0/24", count).large(f"six{count}", "2001:db8:6::/64", count)
    # For longer than the test takes: other 256 of them would find the name's budget used up.
    zone.large("thousand", "198.18.0.0/15", 1000, ttl=7200)
    for number, address in enumerate(_SPECIAL):
        zone.a(f"private{number}", address, "192.0.2.30")
    zone.record("many", "TXT", *(f'"{n:03} {"t" * 60}"' for n in range(60)))
    for number in range(20):
        zone.srv(f"_s{number}._tcp", 443, f"n{number}").srv(f"_s{number}._tcp", 444, f"www.{OTHER}.")
        hints = f"alpn=h2,h3 ipv4hint=192.0.2.{40 + number} ipv6hint=2001:db8::{number:x} port=8443"
        zone.record(f"https{number}", "HTTPS", f"1 . {hints}", "2 . alpn=h2")
        zone.record(f"_dns{number}", "SVCB", f"1 . {hints} key65000=data")
    zone.record("ech", "HTTPS", "1 . alpn=h2 ech=AAT+DQAA").record("alias", "HTTPS", "0 www")
    zone.record("service", "HTTPS", f"1 www.{OTHER}. alpn=h2")
    _odd(zone)
    other = Zone(OTHER).both("far", 60).both("www", 61).both("x.tree", 62)
    return [other, zone]


def _odd(zone: Zone) -> None:
    rdata = {
        "TXT": '"one" "two"',
        "MX": "10 mail.example.org.",
        "CAA": '0 issue "ca.example.net"',
        "NAPTR": '100 10 "S" "SIP+D2U" "" _sip._udp.example.org.',
        "TLSA": "3 1 1 " + "ab" * 32,
        "SSHFP": "4 2 " + "cd" * 32,
        "LOC": "52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m",
        "TYPE65280": r"\# 4 01020304",
        "PTR": "Www.Example.ORG.",
        "URI": '10 1 "https://www.example.org/"',
        "HINFO": '"PC" "Linux"',
    }
    for number in range(10):
        for rtype, text in rdata.items():
            zone.record(f"odd{number}", rtype, text)


_ADDRESS = ("A", "AAAA")
Maker = Callable[[random.Random], tuple[str, str]]
# What is asked for, and how often beside the others.
_MAKERS: dict[str, tuple[int, Maker]] = {
    "address": (30, lambda r: (f"n{r.randrange(NUMBERED)}", r.choice(_ADDRESS))),
    "few names": (6, lambda r: (r.choice(("@", "www", "short", "under_score")), r.choice(_ADDRESS))),
    "one family": (4, lambda r: (r.choice(("only4", "only6")), r.choice(_ADDRESS))),
    "chain": (8, lambda r: (f"chain{r.randint(1, 10)}", r.choice((*_ADDRESS, "CNAME", "TXT")))),
    "chain to another zone": (3, lambda r: (r.choice(("far", "farnx")), r.choice((*_ADDRESS, "CNAME")))),
    "chain to nothing": (2, lambda r: ("nodata", r.choice(("AAAA", "A", "TXT")))),
    "chain without end": (1, lambda r: (r.choice(("loop1", "loop2", "toolong")), "A")),
    "chain to an unknown zone": (1, lambda r: ("dangling", r.choice(_ADDRESS))),
    "chain that its server leaves unfinished": (1, lambda r: ("far.half", r.choice(_ADDRESS))),
    "wildcard": (5, lambda r: (f"{_label(r)}.{r.choice(('wild', 'wildcname'))}", r.choice(_ADDRESS))),
    "absent": (8, lambda r: (_label(r), r.choice((*_ADDRESS, "TXT", "HTTPS", "SRV")))),
    "empty": (3, lambda r: (r.choice(("deep", "c.deep", "b.c.deep", "wild")), r.choice(_ADDRESS))),
    "no such type": (4, lambda r: (f"n{r.randrange(NUMBERED)}", r.choice(("TXT", "MX", "HTTPS", "SVCB")))),
    "long name": (2, lambda r: (_LONG, r.choice(_ADDRESS))),
    "large": (5, lambda r: (f"{r.choice(('large', 'six'))}{r.choice((10, 40, 80, 120, 200))}", "A")),
    "large, six": (3, lambda r: (f"six{r.choice((10, 40, 80, 120, 200))}", "AAAA")),
    "large text": (1, lambda r: ("many", "TXT")),
    "service": (5, lambda r: (f"https{r.randrange(20)}", "HTTPS")),
    "binding": (3, lambda r: (f"_dns{r.randrange(20)}", "SVCB")),
    "server": (5, lambda r: (f"_s{r.randrange(20)}._tcp", "SRV")),
    "odd type": (6, lambda r: (f"odd{r.randrange(10)}", r.choice((*ODD_TYPES, "PTR")))),
    "apex": (2, lambda r: ("@", r.choice(("NS", "SOA", "MX", "HTTPS")))),
    "more addresses than a name may have": (1, lambda r: ("thousand", "A")),
    "special-purpose address": (1, lambda r: (f"private{r.randrange(len(_SPECIAL))}", "A")),
    "service with ECH": (1, lambda r: ("ech", "HTTPS")),
    "service elsewhere": (1, lambda r: (r.choice(("alias", "service")), "HTTPS")),
    "DNAME": (1, lambda r: ("x.dname", r.choice(_ADDRESS))),
    "type that no rule lists": (1, lambda r: (f"odd{r.randrange(10)}", r.choice(("URI", "HINFO")))),
    "ANY": (1, lambda r: (f"n{r.randrange(NUMBERED)}", "ANY")),
}


def probes(count: int, seed: int) -> Iterator[Probe]:
    """`count` questions, of every kind at least one when there are as many as kinds."""
    chosen = random.Random(seed)
    kinds = [*_MAKERS]
    weights = [weight for weight, _ in _MAKERS.values()]
    for number in range(count):
        kind = kinds[number] if number < len(kinds) else chosen.choices(kinds, weights)[0]
        label, rtype = _MAKERS[kind][1](chosen)
        name = f"{ORIGIN}." if label == "@" else f"{label}.{ORIGIN}."
        yield _dressed(Probe(kind, name, rtype), chosen)


def _dressed(probe: Probe, chosen: random.Random) -> Probe:
    """The question in one of the ways in which clients ask."""
    if chosen.random() < 0.3:
        probe = probe._replace(name="".join(chosen.choice((c.upper(), c.lower())) for c in probe.name))
    match chosen.randrange(12):
        case 0:
            return probe._replace(edns=None)
        case 1:
            return probe._replace(edns=512)
        case 2:
            kind = "large, and 4,096 bytes offered" if probe.kind.startswith("large") else probe.kind
            return probe._replace(kind=kind, edns=4096)
        case 3:
            return probe._replace(do=True)
        case 4:
            return probe._replace(flags=dns.flags.RD | dns.flags.CD)
        case 5:
            return probe._replace(flags=dns.flags.RD | dns.flags.AD)
        case 6:
            return probe._replace(tcp=True)
        case 7 if chosen.random() < 0.2 and "half" not in probe.name.lower():
            return probe._replace(kind="no recursion asked for", flags=0)
    return probe


def _label(chosen: random.Random) -> str:
    return (
        "".join(chosen.choices("abcdefghijklmnopqrstuvwxyz0123456789-", k=chosen.randint(1, 30))).strip("-")
        or "z"
    )
