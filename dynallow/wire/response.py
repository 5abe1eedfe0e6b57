"""An upstream's response: bytes to `Response`, all of it validated or none of it.

Knows the message format and which question was asked; must not know chains,
policy or addresses. Invariant: nothing is returned from a message of which any
part, also in sections that are thrown away, is malformed: counts that lie, a
wrong RDLENGTH and trailing bytes are marks of a forger or of a broken server,
and either way of someone whose addresses must not be granted (DESIGN section 10).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from dynallow.errors import WireError
from dynallow.wire import numbers as n
from dynallow.wire.names import Name, read_name
from dynallow.wire.rdata import check_options, find_option, read_rdata

_header: Final = struct.Struct(">6H").unpack_from
_question_tail: Final = struct.Struct(">HH").pack
_fixed: Final = struct.Struct(">HHIH").unpack_from
_pointer_and_fixed: Final = struct.Struct(">HHHIH").unpack_from
_TTL_MAX: Final = 0x7FFFFFFF
_ROOT_OPT: Final = b"\0\0\x29"  # root owner, type 41
_BARE_OPT: Final = 11  # bytes of an OPT record without options
_NO_OPTIONS: Final = b"\0\0"  # what such a one ends in
_KIND: Final = n.QR | n.OPCODE
_new: Final = tuple.__new__  # what Response(...) calls in the end, at half the price

# How much is read at a time, in records with an address and a known owner, each of which
# takes about a microsecond; and what a name may cost in these, at its worst.
_SLICE: Final = 256
_NAME_COST: Final = 12


Record = tuple[Name, int, int, bytes]
"""Owner, type, TTL and data of a record of class IN. Names in the data are decompressed and in lower case.

Plain tuples: of a fresh answer's records each is made once and taken apart four times, and a NamedTuple
costs three times as much for each of these. Nor does the collector come back to what holds nothing but bytes.
"""


class Response(NamedTuple):
    """A validated response to our question; `rcode` includes the bits that OPT adds.

    `questionless`: a bare header with an error code, which is how servers
    answer that know no EDNS or nothing at all. It tells of a failed try and
    proves little: only the id was ours. `cookie` is what the COOKIE option
    holds (RFC 7873), empty without one.
    """

    id: int
    flags: int
    rcode: int
    answer: tuple[Record, ...]
    authority: tuple[Record, ...]
    questionless: bool = False
    cookie: bytes = b""

    @property
    def truncated(self) -> bool:
        """Ask again over TCP; nothing may be granted from this one."""
        return self.flags & n.TC != 0


class MismatchError(WireError):
    """Not a response to the question we asked: keep waiting for the real one."""


def parse_response(
    packet: bytes, *, id: int, name: Name, qtype: int, section: bytes | None = None
) -> Response:
    """The response in `packet` to the question `name` (lower case), `qtype`, IN.

    `section` is the question section as it was sent, where that was not in lower case.
    Raises MismatchError when it answers something else, WireError when any part
    of it is malformed. All at once: a message made for it takes 100 ms.
    """
    response = _usual(packet, id, name, section) if section else None
    if response is None:
        *_, response = parse_in_slices(packet, id=id, name=name, qtype=qtype, section=section)
        assert response is not None
    return response


def _usual(packet: bytes, id: int, name: Name, section: bytes) -> Response | None:
    """An answer with nothing behind it but a bare OPT record, as nearly all are: a fifth cheaper.

    None for whatever else there is, and whatever is wrong: what that means is for the thorough look to say.
    """
    start, end = n.HEADER_SIZE + len(section), len(packet) - _BARE_OPT
    if end < start or not (packet.startswith(section, n.HEADER_SIZE) and packet.startswith(_ROOT_OPT, end)):
        return None
    ident, flags, questions, answers, authorities, additionals = _header(packet)
    if ident != id or flags & _KIND != n.QR or questions != 1 or authorities or additionals != 1:
        return None
    answer: list[Record] = []
    try:
        pos, left = _read_records(packet, start, answers, {n.HEADER_SIZE: name}, answer)
    except (WireError, IndexError, struct.error):
        return None
    if left or pos != end or not packet.endswith(_NO_OPTIONS):
        return None
    return _new(Response, (ident, flags, flags & 0xF | packet[end + 5] << 4, tuple(answer), (), False, b""))


def parse_in_slices(
    packet: bytes, *, id: int, name: Name, qtype: int, section: bytes | None = None
) -> Iterator[Response | None]:
    """The same, with None after each slice of the work, so that others can have their turn between.

    The last item, of most messages the only one, is the response.
    """
    size = len(packet)
    if not n.HEADER_SIZE <= size <= n.MESSAGE_MAX:
        raise WireError(f"message of {size} bytes")
    ident, flags, questions, answers, authorities, additionals = _header(packet)
    # QR set and opcode QUERY in one look.
    if ident != id or flags & _KIND != n.QR:
        raise MismatchError("another id, or not a response to a query")
    if questions != 1:
        yield _questionless(packet)
        return
    pos = n.HEADER_SIZE + len(name) + 4
    # Byte for byte, case included: what a forger did not see he cannot echo.
    if packet[n.HEADER_SIZE : pos] != (section or name + _question_tail(qtype, n.CLASS_IN)):
        raise MismatchError("response to another question")
    known = {n.HEADER_SIZE: name}
    rcode = flags & 0xF
    cookie = b""
    answer: list[Record] = []
    authority: list[Record] = []
    try:
        while answers:
            pos, answers = _read_records(packet, pos, answers, known, answer)
            if answers:
                yield None
        while authorities:
            pos, authorities = _read_records(packet, pos, authorities, known, authority)
            if authorities:
                yield None
        if additionals == 1 and size - pos == _BARE_OPT and packet.startswith(_ROOT_OPT, pos):
            # Nearly every response's end, read at a glance; the last two bytes are its RDLENGTH.
            if packet[-2:] != b"\0\0":
                raise WireError("record runs past the end of the message")
            rcode |= packet[pos + 5] << 4
            pos = size
        elif additionals:
            opt: list[tuple[int, bytes]] = []
            while additionals:
                pos, additionals = _read_additional(packet, pos, additionals, known, opt)
                if additionals:
                    yield None
            if opt:
                upper, cookie = opt[0]
                rcode |= upper << 4
    except (IndexError, struct.error) as error:
        raise WireError("message ends inside a record") from error
    if pos != size:
        raise WireError(f"{size - pos} bytes after the last section")
    yield _new(Response, (ident, flags, rcode, tuple(answer), tuple(authority), False, cookie))


def _questionless(packet: bytes) -> Response:
    """A header that stands alone and says no (FORMERR from servers of old, and the like)."""
    ident, flags, *counts = _header(packet)
    rcode = flags & 0xF
    if any(counts) or not rcode or len(packet) != n.HEADER_SIZE:
        raise MismatchError(f"{counts[0]} questions in a response")
    return Response(ident, flags, rcode, (), (), questionless=True)


def _read_records(
    packet: bytes, pos: int, count: int, known: dict[int, Name], records: list[Record]
) -> tuple[int, int]:
    """Read a slice of the `count` records at `pos`: the position after it, and how many are left.

    Appends those of class IN to `records`. One long function: it runs once a
    record on the hottest path there is, where a call costs as much as the work.
    Reading past the end raises IndexError or struct.error, except in slices of
    bytes, for which `end` is checked.
    """
    size = len(packet)
    left, room = count, _SLICE
    owner: Name | None
    head, owner, rtype, ttl, length = b"", b"", 0, 0, 0
    while left and room >= 0:
        left -= 1
        room -= 1
        if head:
            if packet.startswith(head, pos):
                # One more address of the same set: owner, type, class, TTL and length are the last one's.
                start = pos + 12
                pos = start + length
                if pos > size:
                    raise WireError("record runs past the end of the message")
                records.append((owner, rtype, ttl, packet[start:pos]))
                continue
            head = b""
        if packet[pos] >= 0xC0:
            pointer, rtype, rclass, ttl, length = _pointer_and_fixed(packet, pos)
            start = pos + 12
            if left and rclass == n.CLASS_IN and (rtype == n.A or rtype == n.AAAA):
                head = packet[pos:start]
            owner = known.get(pointer & 0x3FFF)
            if owner is None:
                owner, _end = read_name(packet, pos, known)
                room -= _NAME_COST
        else:
            owner, pos = read_name(packet, pos, known)
            rtype, rclass, ttl, length = _fixed(packet, pos)
            start = pos + 10
            room -= _NAME_COST
        pos = start + length
        if pos > size:
            raise WireError("record runs past the end of the message")
        if rtype == n.A and length == 4:
            rdata = packet[start:pos]
        elif rtype == n.CNAME:
            rdata, end = read_name(packet, start, known)
            if end != pos:
                raise WireError(f"CNAME ends at byte {end}, its record at {pos}")
            room -= _NAME_COST
        elif rtype == n.AAAA and length == 16:
            rdata = packet[start:pos]
        elif rtype == n.OPT or rtype == n.TSIG:  # RFC 6891 section 6.1.1, RFC 8945 section 5.1
            raise WireError("OPT or TSIG record outside the additional section")
        else:
            rdata = read_rdata(packet, rtype, start, pos, known)
            room -= _NAME_COST + (length >> 3)
        if rclass == n.CLASS_IN:  # an address of class CH is no address
            if ttl > _TTL_MAX:
                ttl = 0  # RFC 2181 section 8
            records.append((owner, rtype, ttl, rdata))
    return pos, left


def _read_additional(
    packet: bytes, pos: int, count: int, known: dict[int, Name], opt: list[tuple[int, bytes]]
) -> tuple[int, int]:
    """Read a slice of the additional section: the position after it, and how many records are left.

    Puts the upper bits of the rcode that OPT holds, and the cookie, into `opt`. The other records
    are checked and dropped: they answer what nobody asked (invariant 5).
    """
    left, room = count, _SLICE
    while left and room > 0:
        left -= 1
        if packet.startswith(_ROOT_OPT, pos):
            owner, pos = b"\0", pos + 1
        else:
            owner, pos = read_name(packet, pos, known)
        rtype, _class, ttl, length = _fixed(packet, pos)
        start = pos + 10
        pos = start + length
        if pos > len(packet):
            raise WireError("record runs past the end of the message")
        if rtype != n.OPT:
            read_rdata(packet, rtype, start, pos, known)
            room -= 2 * _NAME_COST + (length >> 3)
            continue
        if opt or owner != b"\0":
            raise WireError("second OPT record, or OPT not at the root")
        if length:
            check_options(packet, start, pos)
        opt.append((ttl >> 24, find_option(packet, start, pos, n.COOKIE)))
    return pos, left
