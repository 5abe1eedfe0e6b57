"""Questions that are none, as raw bytes with the id 0x4242. Pure."""

from __future__ import annotations

import struct

from tests.lab import dnsbytes
from tests.netns.asking import EDNS, opt, packet

GOOD = packet("good.example.org", ident=0x4242)
NAME = dnsbytes.name("good.example.org")
TAIL = struct.pack("!HH", dnsbytes.A, dnsbytes.IN)


def raw(
    body: bytes, *, qd: int = 1, an: int = 0, ns: int = 0, ar: int = 0, flags: int = dnsbytes.RD
) -> bytes:
    return struct.pack("!6H", 0x4242, flags, qd, an, ns, ar) + body


MALFORMED = {
    "no question": raw(b"", qd=0),
    "two questions": raw(NAME + TAIL + dnsbytes.name("b.example.org") + TAIL, qd=2),
    "the same question twice": raw((NAME + TAIL) * 2, qd=2),
    "count of 65535": raw(NAME + TAIL, qd=65535),
    "header only": raw(b""),
    "name cut off": raw(NAME[:6]),
    "name without end": raw(NAME[:-1]),
    "type missing": raw(NAME),
    "class cut off": raw(NAME + TAIL[:3]),
    "trailing byte": raw(NAME + TAIL + b"\0"),
    "answer in a query": raw(NAME + TAIL + dnsbytes.address("192.0.2.1"), an=1),
    "authority in a query": raw(NAME + TAIL + dnsbytes.soa("example.org"), ns=1),
    "pointer to itself": raw(b"\xc0\x0c" + TAIL),
    "pointer forward": raw(b"\xc0\x20" + TAIL + NAME),
    "pointer into the header": raw(b"\xc0\x00" + TAIL),
    "label type 01": raw(b"\x43www\0" + TAIL),
    "label type 10": raw(b"\x83www\0" + TAIL),
    "label of 64 bytes": raw(b"\x40" + b"a" * 64 + NAME + TAIL),
    "name of 256 bytes": raw((b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"a" * 62 + b"\0" + TAIL),
    "name of 300 bytes": raw((b"\x3b" + b"a" * 59) * 5 + b"\0" + TAIL),
    "two OPT records": raw(NAME + TAIL + EDNS * 2, ar=2),
    "OPT not at the root": raw(NAME + TAIL + b"\x01a" + EDNS, ar=1),
    "OPT cut off": raw(NAME + TAIL + EDNS[:-3], ar=1),
    "OPT option too long": raw(NAME + TAIL + opt(options=struct.pack("!HH", 10, 9) + b"12345678"), ar=1),
    "count of additional lies": raw(NAME + TAIL + EDNS, ar=2),
}
