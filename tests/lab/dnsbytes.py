"""Raw DNS messages for servers that lie. Pure.

Knows RFC 1035's layout, and shares no code with `dynallow.wire`: a reader
must not be tested with its own writer. Every count and length can be set to
what it is not.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, SVCB, HTTPS, ANY = 1, 2, 5, 6, 12, 15, 16, 28, 33, 64, 65, 255
IN, CH = 1, 3
QR, AA, TC, RD, RA = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
TYPES = {A: "A", NS: "NS", CNAME: "CNAME", SOA: "SOA", PTR: "PTR", MX: "MX", TXT: "TXT"} | {
    AAAA: "AAAA", SRV: "SRV", SVCB: "SVCB", HTTPS: "HTTPS", ANY: "ANY"
}  # fmt: skip
ASKED = b"\xc0\x0c"  # a pointer to the question's name


class Query(NamedTuple):
    """What a scripted server was asked, and how."""

    data: bytes
    name: bytes  # wire form, as sent
    qtype: int
    transport: str  # "udp" or "tcp"
    client: tuple[str, int]
    server: tuple[str, int]
    serial: int  # how many questions came before this one

    @property
    def id(self) -> int:
        return int.from_bytes(self.data[:2], "big")

    @property
    def question(self) -> bytes:
        """The question section as it came."""
        return self.data[12 : 12 + len(self.name) + 4]

    @property
    def text(self) -> str:
        """The name as people write it, lower case, no dot at the end."""
        return text(self.name)


def name(text: str) -> bytes:
    """Wire form; labels may have any length that fits one byte, also those RFC 1035 forbids."""
    labels = [label.encode() for label in text.strip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def text(wire: bytes) -> str:
    labels, at = [], 0
    while at < len(wire) and wire[at]:
        labels.append(wire[at + 1 : at + 1 + wire[at]].decode("latin-1").lower())
        at += 1 + wire[at]
    return ".".join(labels)


def rr(
    owner: bytes, rtype: int, rdata: bytes, *, ttl: int = 300, rclass: int = IN, rdlength: int | None = None
) -> bytes:
    """One record; `rdlength` may lie."""
    length = len(rdata) if rdlength is None else rdlength
    return owner + struct.pack("!HHIH", rtype, rclass, ttl & 0xFFFFFFFF, length) + rdata


def address(text: str, *, owner: bytes = ASKED, ttl: int = 300) -> bytes:
    """An A or AAAA record, by the look of `text`."""
    packed = ip_address(text).packed
    return rr(owner, A if len(packed) == 4 else AAAA, packed, ttl=ttl)


def cname(target: str, *, owner: bytes = ASKED, ttl: int = 300) -> bytes:
    return rr(owner, CNAME, name(target), ttl=ttl)


def soa(zone: str, *, ttl: int = 60, minimum: int = 60) -> bytes:
    rdata = (
        name(f"ns1.{zone}") + name(f"hostmaster.{zone}") + struct.pack("!5I", 1, 3600, 600, 86400, minimum)
    )
    return rr(name(zone), SOA, rdata, ttl=ttl)


def reply(
    query: Query,
    answer: Sequence[bytes] = (),
    authority: Sequence[bytes] = (),
    additional: Sequence[bytes] = (),
    *,
    rcode: int = NOERROR,
    flags: int = QR | AA | RD | RA,
    message_id: int | None = None,
    question: bytes | None = None,
    counts: tuple[int, int, int, int] | None = None,
    trailing: bytes = b"",
) -> bytes:
    """A response to `query`; `counts` (QD, AN, NS, AR), id and question may lie."""
    asked = query.question if question is None else question
    told = counts or (1 if asked else 0, len(answer), len(authority), len(additional))
    header = struct.pack("!HH4H", query.id if message_id is None else message_id, flags | rcode, *told)
    return b"".join([header, asked, *answer, *authority, *additional, trailing])
