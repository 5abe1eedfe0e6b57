"""The insides of records: what RDLENGTH must be, and names decompressed.

Knows the shape of each record type that holds names or whose length is fixed;
everything else is opaque. Must not know sections or chains. Invariant: what
`read_rdata` returns fills its RDLENGTH exactly and means the same in any other
message (no compression pointer survives).
"""

from __future__ import annotations

from typing import Final

from dynallow.errors import WireError
from dynallow.wire import numbers as n
from dynallow.wire.names import LABEL_MAX, NAME_MAX, Name, read_name
from dynallow.wire.svcb import check_params

_EXACT: Final = {n.A: 4, n.AAAA: 16}

# (bytes before, names, bytes after). Beside the types in use, those that RFC 3597
# section 4 tells receivers to decompress: passed on as they came, their
# pointers would lead into some other message.
_SHAPES: Final = {
    n.NS: (0, 1, 0),
    n.CNAME: (0, 1, 0),
    n.PTR: (0, 1, 0),
    n.DNAME: (0, 1, 0),
    n.SOA: (0, 2, 20),
    n.MX: (2, 1, 0),
    n.SRV: (6, 1, 0),
    3: (0, 1, 0),  # MD
    4: (0, 1, 0),  # MF
    7: (0, 1, 0),  # MB
    8: (0, 1, 0),  # MG
    9: (0, 1, 0),  # MR
    14: (0, 2, 0),  # MINFO
    17: (0, 2, 0),  # RP
    18: (2, 1, 0),  # AFSDB
    21: (2, 1, 0),  # RT
    26: (2, 2, 0),  # PX
    36: (2, 1, 0),  # KX
}
_SIGNER: Final = 18  # where the signer's name begins in a signature (RFC 4034 section 3.1)
_SALT: Final = 4  # where the salt's length stands in NSEC3 (RFC 5155 section 3.2)
_WINDOW_MAX: Final = 32
# A record of 64 KiB can hold 257 full strings, but also 65535 empty ones, and that many take long.
_STRINGS_MAX: Final = 1024
_OPTIONS_MAX: Final = 256
_NEVER_COMPRESSED: Final = {n.DNAME, 36}  # RFC 6672, RFC 2230: must not be sent so


def read_rdata(packet: bytes, rtype: int, start: int, end: int, known: dict[int, Name]) -> bytes:
    """The rdata in `packet[start:end]`, checked, with names decompressed and lower-cased.

    Lower case is allowed, the DNS being case-blind (RFC 4343), and makes
    following a chain a comparison of bytes. The caller has checked that
    `end` lies within the packet.
    """
    shape = _SHAPES.get(rtype)
    if shape is not None:
        rdata = _read_shaped(packet, shape, start, end, known)
        if rtype in _NEVER_COMPRESSED and len(rdata) != end - start:
            raise WireError(f"compressed name in a record of type {rtype}")
        return rdata
    if rtype in _EXACT:
        if end - start != _EXACT[rtype]:
            raise WireError(f"type {rtype} with {end - start} bytes of data")
    elif rtype in (n.TXT, n.SPF):
        if _skip_strings(packet, start, end, None) != end or start == end:
            raise WireError(f"text strings do not fill their record, or more than {_STRINGS_MAX} of them")
    elif rtype in (n.HTTPS, n.SVCB):
        check_params(packet[start:end])
    elif rtype in (n.RRSIG, n.NSEC, n.NSEC3):
        _check_proof(packet, rtype, start, end)
    elif rtype == n.NAPTR:
        middle = _skip_strings(packet, start + 4, end, 3)
        return packet[start:middle] + _read_shaped(packet, (0, 1, 0), middle, end, known)
    return packet[start:end]


def _read_shaped(
    packet: bytes, shape: tuple[int, int, int], start: int, end: int, known: dict[int, Name]
) -> bytes:
    """Rdata made of fixed bytes, names, fixed bytes."""
    before, names, after = shape
    pos = start + before
    rdata = packet[start:pos]
    for _ in range(names):
        name, pos = read_name(packet, pos, known)
        rdata += name
    if pos + after != end:
        raise WireError(f"names end at byte {pos}, their record's data at {end}")
    return rdata + packet[pos:end] if after else rdata


def _check_proof(packet: bytes, rtype: int, start: int, end: int) -> None:
    """Check a signature or a proof of absence.

    Their names must not be compressed (RFC 4034 sections 3.1.7 and 4.1.1), and are passed on as they
    are: the next name is signed in the case that it is in (RFC 6840 section 5.1).
    """
    if rtype == n.NSEC3:
        pos = start + _SALT
        for _ in ("salt", "next"):
            if pos >= end:
                raise WireError("NSEC3 record is cut off")
            pos += 1 + packet[pos]
    else:
        name = pos = start + _SIGNER if rtype == n.RRSIG else start
        while pos < end and 0 < packet[pos] <= LABEL_MAX:
            pos += packet[pos] + 1
        if pos + 1 >= end or packet[pos] or pos + 1 - name > NAME_MAX:
            raise WireError("signature or proof of absence without a plain name")
        pos += 1
    if rtype != n.RRSIG:
        _check_types(packet, pos, end)


def _check_types(packet: bytes, pos: int, end: int) -> None:
    """Check a type bitmap: windows ascend, and none ends in a zero octet (RFC 4034 section 4.1.2)."""
    last = -1
    while pos + 2 < end and packet[pos] > last and 0 < packet[pos + 1] <= _WINDOW_MAX:
        last = packet[pos]
        pos += 2 + packet[pos + 1]
        if not packet[pos - 1]:
            break
    else:
        if pos == end:
            return
    raise WireError("types in a proof of absence do not fill their record, or a window ends in zero")


def _skip_strings(packet: bytes, pos: int, end: int, count: int | None) -> int:
    """The position after `count` character-strings (None: as many as there are, but no heap of empty ones).

    Beyond `end` when the last one is cut off; the caller compares.
    """
    for _ in range(_STRINGS_MAX if count is None else count):
        if pos >= end:
            break
        pos += packet[pos] + 1
    return pos


def check_options(packet: bytes, pos: int, end: int) -> None:
    """Check that EDNS options tile `packet[pos:end]` exactly (RFC 6891 section 6.1.2)."""
    for _ in range(_OPTIONS_MAX):
        if pos >= end:
            break
        pos += 4 + (packet[pos + 2] << 8 | packet[pos + 3])
    if pos != end:
        raise WireError(f"EDNS option runs past its record, or more than {_OPTIONS_MAX} of them")


def find_option(packet: bytes, pos: int, end: int, code: int) -> bytes:
    """The data of the first such option in `packet[pos:end]`, which `check_options` has passed; or empty."""
    while pos < end:
        start = pos + 4
        length = packet[pos + 2] << 8 | packet[pos + 3]
        if packet[pos] << 8 | packet[pos + 1] == code:
            return packet[start : start + length]
        pos = start + length
    return b""
