"""Record types: names and numbers (IANA "DNS Parameters"), and which may ever be asked for.

Knows the table. Must not know rules.
"""

from __future__ import annotations

import re

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA = 1, 2, 5, 6, 12, 15, 16, 28
SRV, OPT, SVCB, HTTPS, ANY = 33, 41, 64, 65, 255

_NUMBERS = {
    "A": 1, "NS": 2, "MD": 3, "MF": 4, "CNAME": 5, "SOA": 6, "MB": 7, "MG": 8, "MR": 9, "NULL": 10, "WKS": 11,
    "PTR": 12, "HINFO": 13, "MINFO": 14, "MX": 15, "TXT": 16, "RP": 17, "AFSDB": 18, "X25": 19, "ISDN": 20,
    "RT": 21, "SIG": 24, "KEY": 25, "PX": 26, "GPOS": 27, "AAAA": 28, "LOC": 29, "NXT": 30, "SRV": 33,
    "NAPTR": 35, "KX": 36, "CERT": 37, "A6": 38, "DNAME": 39, "OPT": 41, "APL": 42, "DS": 43, "SSHFP": 44,
    "IPSECKEY": 45, "RRSIG": 46, "NSEC": 47, "DNSKEY": 48, "DHCID": 49, "NSEC3": 50, "NSEC3PARAM": 51,
    "TLSA": 52, "SMIMEA": 53, "HIP": 55, "CDS": 59, "CDNSKEY": 60, "OPENPGPKEY": 61, "CSYNC": 62,
    "ZONEMD": 63, "SVCB": 64, "HTTPS": 65, "SPF": 99, "NID": 104, "L32": 105, "L64": 106, "LP": 107,
    "EUI48": 108, "EUI64": 109, "TKEY": 249, "TSIG": 250, "IXFR": 251, "AXFR": 252, "MAILB": 253,
    "MAILA": 254, "ANY": 255, "URI": 256, "CAA": 257, "AVC": 258, "DLV": 32769,
}  # fmt: skip
_NAMES = {number: name for name, number in _NUMBERS.items()}
_GENERIC = re.compile(r"TYPE(\d{1,5})")

KEY_TYPES = frozenset((43, 48))
"""DS and DNSKEY: what a validator asks of every zone above a name (RFC 4035 section 5)."""
SERVICE_TYPES = frozenset((SRV, SVCB, HTTPS))
"""Asked for below `_service._proto` (RFC 2782) and `_port._scheme` (RFC 9460 sections 2.3 and 9.1)."""
DEFAULT_TYPES = frozenset((A, AAAA, CNAME, HTTPS, SVCB, SRV))


def parse_type(text: str) -> int:
    """The number of "AAAA" or "TYPE123" (RFC 3597 section 5), in either case."""
    name = text.strip().upper()
    if name == "*":
        return ANY
    number = _NUMBERS.get(name)
    if number is not None:
        return number
    match = _GENERIC.fullmatch(name)
    if match is not None and int(match[1]) <= 0xFFFF:
        return int(match[1])
    raise ValueError(f'expected a record type such as "A", "TXT" or "TYPE123", got "{text}"')


def type_text(number: int) -> str:
    """ "AAAA" for 28, "TYPE123" for what has no name."""
    return _NAMES.get(number) or f"TYPE{number}"


def is_data_type(number: int) -> bool:
    """Whether such records can be data: not OPT, no meta or question type (128–255, RFC 6895 section 3.1)."""
    return (0 < number < 128 and number != OPT) or 255 < number < 0xFFFF
