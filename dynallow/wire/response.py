"""An upstream's response: bytes to `Response`, all of it validated or none of it.

Knows the message format and which question was asked; must not know chains,
policy or addresses. Invariant: nothing is returned from a message of which any
part, also in sections that are thrown away, is malformed: counts that lie, a
wrong RDLENGTH and trailing bytes are marks of a forger or of a broken server,
and either way of someone whose addresses must not be granted (DESIGN section 10).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from dynallow.errors import WireError
from dynallow.wire import numbers as n
from dynallow.wire.names import Name, read_name
from dynallow.wire.rdata import check_options, read_rdata

_header: Final = struct.Struct(">6H").unpack_from
_question_tail: Final = struct.Struct(">HH").pack
_fixed: Final = struct.Struct(">HHIH").unpack_from
_pointer_and_fixed: Final = struct.Struct(">HHHIH").unpack_from
_TTL_MAX: Final = 0x7FFFFFFF


class Record(NamedTuple):
    """A record of class IN. Names in `rdata` are decompressed and in lower case."""

    owner: Name
    rtype: int
    ttl: int
    rdata: bytes


class Response(NamedTuple):
    """A validated response to our question; `rcode` includes the bits that OPT adds.

    `questionless`: a bare header with an error code, which is how servers
    answer that know no EDNS or nothing at all. It tells of a failed try and
    proves little: only the id was ours.
    """

    id: int
    flags: int
    rcode: int
    answer: tuple[Record, ...]
    authority: tuple[Record, ...]
    questionless: bool = False

    @property
    def truncated(self) -> bool:
        """Ask again over TCP; nothing may be granted from this one."""
        return self.flags & n.TC != 0


class MismatchError(WireError):
    """Not a response to the question we asked: keep waiting for the real one."""


def parse_response(packet: bytes, *, id: int, name: Name, qtype: int) -> Response:
    """The response in `packet` to the question `name` (as it was sent, lower case), `qtype`, IN.

    Raises MismatchError when it answers something else, WireError when any part
    of it is malformed.
    """
    size = len(packet)
    if not n.HEADER_SIZE <= size <= n.MESSAGE_MAX:
        raise WireError(f"message of {size} bytes")
    ident, flags, questions, answers, authorities, additionals = _header(packet)
    # QR set and opcode QUERY in one look.
    if ident != id or flags & (n.QR | n.OPCODE) != n.QR:
        raise MismatchError("another id, or not a response to a query")
    if questions != 1:
        return _questionless(packet)
    pos = n.HEADER_SIZE + len(name) + 4
    # Byte for byte, case included: what a forger did not see he cannot echo.
    if packet[n.HEADER_SIZE : pos] != name + _question_tail(qtype, n.CLASS_IN):
        raise MismatchError("response to another question")
    known = {n.HEADER_SIZE: name}
    rcode = flags & 0xF
    try:
        answer, pos = _read_section(packet, pos, answers, known)
        authority, pos = _read_section(packet, pos, authorities, known)
        if additionals:
            extended, pos = _read_additional(packet, pos, additionals, known)
            rcode |= extended << 4
    except (IndexError, struct.error) as error:
        raise WireError("message ends inside a record") from error
    if pos != size:
        raise WireError(f"{size - pos} bytes after the last section")
    return Response(ident, flags, rcode, answer, authority)


def _questionless(packet: bytes) -> Response:
    """A header that stands alone and says no (FORMERR from servers of old, and the like)."""
    ident, flags, *counts = _header(packet)
    rcode = flags & 0xF
    if any(counts) or not rcode or len(packet) != n.HEADER_SIZE:
        raise MismatchError(f"{counts[0]} questions in a response")
    return Response(ident, flags, rcode, (), (), questionless=True)


def _read_section(
    packet: bytes, pos: int, count: int, known: dict[int, Name]
) -> tuple[tuple[Record, ...], int]:
    """The records of class IN among `count` records at `pos`, and the position after them.

    One long function: it runs once a record on the hottest path there is, where
    a call costs as much as the work. Reading past the end raises IndexError or
    struct.error, except in slices, for which `end` is checked.
    """
    if not count:
        return (), pos
    size = len(packet)
    records: list[Record] = []
    new = tuple.__new__  # what Record(...) calls in the end, at half the price
    for _ in range(count):
        if packet[pos] >= 0xC0:
            pointer, rtype, rclass, ttl, length = _pointer_and_fixed(packet, pos)
            start = pos + 12
            owner = known.get(pointer & 0x3FFF)
            if owner is None:
                owner, _end = read_name(packet, pos, known)
        else:
            owner, pos = read_name(packet, pos, known)
            rtype, rclass, ttl, length = _fixed(packet, pos)
            start = pos + 10
        pos = start + length
        if pos > size:
            raise WireError("record runs past the end of the message")
        if rtype == n.A and length == 4:
            rdata = packet[start:pos]
        elif rtype == n.CNAME:
            rdata, end = read_name(packet, start, known)
            if end != pos:
                raise WireError(f"CNAME ends at byte {end}, its record at {pos}")
        elif rtype == n.AAAA and length == 16:
            rdata = packet[start:pos]
        elif rtype == n.OPT:
            raise WireError("OPT record outside the additional section")
        else:
            rdata = read_rdata(packet, rtype, start, pos, known)
        if rclass == n.CLASS_IN:  # an address of class CH is no address
            if ttl > _TTL_MAX:
                ttl = 0  # RFC 2181 section 8
            records.append(new(Record, (owner, rtype, ttl, rdata)))
    return tuple(records), pos


def _read_additional(packet: bytes, pos: int, count: int, known: dict[int, Name]) -> tuple[int, int]:
    """The upper bits of the rcode from OPT (0 without one), and the position after the section.

    The other records are checked and dropped: they answer what nobody asked
    (invariant 5).
    """
    extended = None
    for _ in range(count):
        owner, pos = read_name(packet, pos, known)
        rtype, _class, ttl, length = _fixed(packet, pos)
        start = pos + 10
        pos = start + length
        if pos > len(packet):
            raise WireError("record runs past the end of the message")
        if rtype != n.OPT:
            read_rdata(packet, rtype, start, pos, known)
            continue
        if extended is not None or owner != b"\0":
            raise WireError("second OPT record, or OPT not at the root")
        check_options(packet, start, pos)
        extended = ttl >> 24
    return extended or 0, pos
