"""The numbers of the DNS that the wire code itself must know (IANA's registries).

Names for every record type, for people, live in `policy/rrtypes.py`; here are
only those whose bytes are read or written.
"""

from __future__ import annotations

from typing import Final

# Record types
A: Final = 1
NS: Final = 2
CNAME: Final = 5
SOA: Final = 6
PTR: Final = 12
MX: Final = 15
TXT: Final = 16
AAAA: Final = 28
SRV: Final = 33
NAPTR: Final = 35
DNAME: Final = 39
OPT: Final = 41
DS: Final = 43
RRSIG: Final = 46
NSEC: Final = 47
DNSKEY: Final = 48
NSEC3: Final = 50
SVCB: Final = 64
HTTPS: Final = 65
SPF: Final = 99
TSIG: Final = 250

CLASS_IN: Final = 1

# Response codes
NOERROR: Final = 0
FORMERR: Final = 1
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
NOTIMP: Final = 4
REFUSED: Final = 5
BADVERS: Final = 16
BADCOOKIE: Final = 23

# EDNS options
COOKIE: Final = 10

# Header flags, as bits of its second 16-bit word
QR: Final = 0x8000
OPCODE: Final = 0x7800
TC: Final = 0x0200
RD: Final = 0x0100
RA: Final = 0x0080
AD: Final = 0x0020
CD: Final = 0x0010

DO: Final = 0x8000  # in the low half of OPT's TTL field (RFC 3225)

MESSAGE_MAX: Final = 65535
HEADER_SIZE: Final = 12
# What fits an IPv6 path of 1280 bytes: never fragmented (DNS flag day 2020).
UDP_SAFE: Final = 1232
UDP_PLAIN: Final = 512  # without EDNS (RFC 1035 section 4.2.1)
