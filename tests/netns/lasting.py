"""The upstream of `test_told_ttl.py`: a name says itself which addresses it has, and for how long.

    a17.t300.c2.example.org     A and AAAA number 17, TTL 300, behind two CNAMEs
    a3-9.t0.c0.example.org      numbers 3 and 9, TTL 0
    h5.t60.c0.example.org       HTTPS with number 5 as its hints

Pure. Knob `failing`: everything is SERVFAIL, so that only stale answers are left.
Other names do not exist: an agent that met a failure asks some of its own accord.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address

from tests.lab import dnsbytes
from tests.lab.dnsbytes import Query
from tests.lab.scenarios import Knobs, fresh_address

WEEK_S = 7 * 86400
_ENDING = ".example.org"


def lasting(query: Query, knobs: Knobs) -> bytes:
    """The scenario."""
    if knobs.get("failing"):
        return dnsbytes.reply(query, rcode=dnsbytes.SERVFAIL)
    if not query.text.endswith(_ENDING):
        return dnsbytes.reply(query, rcode=dnsbytes.NXDOMAIN)
    numbers, ttl, links = read_name(query.text)
    rdata = _rdata(query.qtype, numbers)
    if not rdata:
        return dnsbytes.reply(query, authority=[dnsbytes.soa("example.org")])
    owner = dnsbytes.ASKED
    answer = []
    for link in range(links):
        # Longer than the address behind it, or shorter: the client must be told the smallest.
        target = f"l{link}.{query.text}"
        answer.append(dnsbytes.cname(target, owner=owner, ttl=ttl * 3 if link % 2 else max(ttl // 2, 1)))
        owner = dnsbytes.name(target)
    answer += [dnsbytes.rr(owner, query.qtype, data, ttl=ttl) for data in rdata]
    return dnsbytes.reply(query, answer)


def read_name(text: str) -> tuple[list[int], int, int]:
    """Address numbers, TTL and number of CNAMEs."""
    addresses, ttl, links, *_ = text.split(".")
    return [int(number) for number in addresses[1:].split("-")], int(ttl[1:]), int(links[1:])


def _rdata(qtype: int, numbers: list[int]) -> list[bytes]:
    if qtype == dnsbytes.HTTPS:
        return [_https(numbers)]
    version = {dnsbytes.A: 4, dnsbytes.AAAA: 6}.get(qtype)
    return [] if version is None else [_packed(number, version) for number in numbers]


def _https(numbers: list[int]) -> bytes:
    four = b"".join(_packed(number, 4) for number in numbers)
    six = b"".join(_packed(number, 6) for number in numbers)
    hints = b"".join(struct.pack("!HH", key, len(value)) + value for key, value in ((4, four), (6, six)))
    return struct.pack("!H", 1) + b"\0" + hints


def _packed(number: int, version: int) -> bytes:
    return ip_address(fresh_address(number, version)).packed
