"""Bytes of DNS messages, spelled out piece by piece, for the tests of `wire/`.

Deliberately dumb: nothing is compressed, counted or checked unless the test
says so, since most tests are about lies.
"""

from __future__ import annotations

import struct

DEB = b"\x03deb\x07example\x03org\x00"
CDN = b"\x03cdn\x07example\x03net\x00"
EDGE = b"\x04edge\x03cdn\x07example\x03net\x00"
EVIL = b"\x04evil\x07example\x03com\x00"
ORG = b"\x07example\x03org\x00"
ROOT = b"\x00"

A, NS, CNAME, SOA, TXT, AAAA, OPT = 1, 2, 5, 6, 16, 28, 41
QUERY, REPLY = 0x0100, 0x8180
ONE, TWO = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])

AT_QUESTION = b"\xc0\x0c"
NO_EDNS_OPTIONS = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"


def pointer(offset: int) -> bytes:
    return struct.pack(">H", 0xC000 | offset)


def header(id: int = 7, flags: int = REPLY, qd: int = 1, an: int = 0, ns: int = 0, ar: int = 0) -> bytes:
    return struct.pack(">6H", id, flags, qd, an, ns, ar)


def asked(name: bytes = DEB, qtype: int = A, qclass: int = 1) -> bytes:
    return name + struct.pack(">HH", qtype, qclass)


def rr(
    owner: bytes,
    rtype: int,
    rdata: bytes,
    *,
    ttl: int = 300,
    rclass: int = 1,
    length: int | None = None,
) -> bytes:
    size = len(rdata) if length is None else length
    return owner + struct.pack(">HHIH", rtype, rclass, ttl, size) + rdata


def reply(
    *answer: bytes,
    authority: tuple[bytes, ...] = (),
    additional: tuple[bytes, ...] = (),
    name: bytes = DEB,
    qtype: int = A,
    flags: int = REPLY,
) -> bytes:
    """A response to `name`, `qtype` with honest counts."""
    return (
        header(flags=flags, an=len(answer), ns=len(authority), ar=len(additional))
        + asked(name, qtype)
        + b"".join(answer + authority + additional)
    )


def soa(minimum: int, mname: bytes = b"\x02ns" + ORG, rname: bytes = b"\x04root" + ORG) -> bytes:
    return mname + rname + struct.pack(">5I", 2024010100, 7200, 900, 1209600, minimum)
