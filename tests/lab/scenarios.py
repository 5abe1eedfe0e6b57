"""Behaviours of scripted name servers that many tests want.

A scenario is a module-level function `(Query, Knobs) -> Reaction`; a test
writes its own beside itself. Runs in the server's process: it must not
import what a test fixture holds. `knobs` are the keyword arguments given to
`lab.scripted`, changeable while the server runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

from tests.lab import dnsbytes
from tests.lab.dnsbytes import Query

Knobs = Mapping[str, Any]


class Send(NamedTuple):
    """One packet (UDP) or write (TCP) of a reaction."""

    data: bytes
    delay_s: float = 0.0
    source: tuple[str, int] | None = None  # UDP: come from this address and port instead
    framed: bool = True  # TCP: put the two length bytes in front
    close: bool = False  # TCP: close the connection afterwards


Reaction = bytes | Send | Sequence["bytes | Send"] | None  # None: silence


def fresh(query: Query, knobs: Knobs) -> bytes:
    """Every name nN.… has A 198.18.0.0 + N and AAAA 2001:db8:f:: + N; knobs: ttl."""
    first = query.text.split(".", 1)[0]
    number = int(first[1:]) if first[:1] == "n" and first[1:].isdigit() else None
    if number is None or query.qtype not in (dnsbytes.A, dnsbytes.AAAA):
        return dnsbytes.reply(query, authority=[dnsbytes.soa("example.org")])
    base = _V4 if query.qtype == dnsbytes.A else _V6
    packed = (base + number).to_bytes(4 if query.qtype == dnsbytes.A else 16, "big")
    record = dnsbytes.rr(dnsbytes.ASKED, query.qtype, packed, ttl=int(knobs.get("ttl", 300)))
    return dnsbytes.reply(query, [record])


_V4 = int(ip_network("198.18.0.0/15")[0])
_V6 = int(ip_network("2001:db8:f::/48")[0])


def fresh_address(number: int, version: int = 4) -> str:
    """The address that `fresh` gives to n<number>."""
    return str(ip_address(_V4 + number)) if version == 4 else str(ip_address(_V6 + number))


def table(query: Query, knobs: Knobs) -> bytes:
    """Answers from `answers`: {"www.example.org": ["192.0.2.1", "2001:db8::1"]}; else NXDOMAIN. Knob: ttl."""
    found = knobs.get("answers", {}).get(query.text)
    soa = dnsbytes.soa("example.org")
    if found is None:
        return dnsbytes.reply(query, authority=[soa], rcode=dnsbytes.NXDOMAIN)
    version = {dnsbytes.A: 4, dnsbytes.AAAA: 6}.get(query.qtype)
    ttl = int(knobs.get("ttl", 300))
    records = [dnsbytes.address(text, ttl=ttl) for text in found if ip_address(text).version == version]
    return dnsbytes.reply(query, records, authority=[] if records else [soa])


def silent(query: Query, knobs: Knobs) -> None:
    """Never answers."""


def failing(query: Query, knobs: Knobs) -> bytes:
    """Answers with the knob `rcode`, by default SERVFAIL."""
    return dnsbytes.reply(query, rcode=int(knobs.get("rcode", dnsbytes.SERVFAIL)))


def slow(query: Query, knobs: Knobs) -> Send:
    """As `fresh`, after the knob `delay_s`."""
    return Send(fresh(query, knobs), delay_s=float(knobs.get("delay_s", 0.5)))


def truncating(query: Query, knobs: Knobs) -> bytes:
    """Over UDP an empty answer with TC=1, over TCP as `fresh`."""
    if query.transport == "tcp":
        return fresh(query, knobs)
    return dnsbytes.reply(query, flags=dnsbytes.QR | dnsbytes.TC | dnsbytes.RD | dnsbytes.RA)
