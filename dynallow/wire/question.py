"""A client's question: bytes to `Question`, or to the reason why not.

Knows what a stub resolver must accept and refuse (RFC 1035, 6891, 8906; DESIGN
section 10), not which names, types or classes are served: that is the
resolver's and the policy's. Invariant: every byte of a packet that gives a
`Question` was accounted for; every other packet raises `QuestionError`.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from dynallow.errors import WireError
from dynallow.wire.names import LABEL_MAX, LABELS, NAME_MAX, Name, read_name
from dynallow.wire.numbers import AD, DO, FORMERR, HEADER_SIZE, NOTIMP, OPCODE, OPT, QR, UDP_PLAIN
from dynallow.wire.rdata import check_options

_header: Final = struct.Struct(">6H").unpack_from
_two_words: Final = struct.Struct(">HH").unpack_from
_fixed: Final = struct.Struct(">HHIH").unpack_from
_opt: Final = struct.Struct(">HI").unpack_from
_new: Final = tuple.__new__  # what Question(...) calls in the end, at half the price
_ADDITIONALS_MAX: Final = 16  # OPT, TSIG, SIG(0); 64 KiB of them would keep everybody else waiting
_OPT_START: Final = b"\0\0\x29"  # root owner, type 41
_NO_OPTIONS: Final = b"\0\0"


class Edns(NamedTuple):
    """What the OPT record says (RFC 6891); `raw` holds its options undivided."""

    version: int
    udp_size: int
    do: bool
    raw: bytes = b""

    @property
    def options(self) -> tuple[tuple[int, bytes], ...]:
        """Code and data of each option, in order."""
        found: list[tuple[int, bytes]] = []
        pos = 0
        while pos < len(self.raw):
            code, length = _two_words(self.raw, pos)
            pos += 4 + length
            found.append((code, self.raw[pos - length : pos]))
        return tuple(found)


class Question(NamedTuple):
    """One well-formed question. `section` is as asked, its case kept for the echo."""

    id: int
    flags: int
    name: Name
    qtype: int
    qclass: int
    section: bytes
    edns: Edns | None

    @property
    def ad(self) -> bool:
        return self.flags & AD != 0

    @property
    def do(self) -> bool:
        return self.edns is not None and self.edns.do

    @property
    def udp_size(self) -> int:
        """The largest UDP reply the client takes; sizes below 512 mean 512 (RFC 6891 section 6.2.3)."""
        return UDP_PLAIN if self.edns is None else max(UDP_PLAIN, self.edns.udp_size)


class QuestionError(WireError):
    """A packet that is no question; holds what is known for an error reply.

    `rcode` None asks for silence: a reply to a reply is how two servers talk
    for ever, and with fewer than 12 bytes there is no id to answer to.
    """

    def __init__(
        self,
        message: str,
        rcode: int | None,
        *,
        id: int = 0,
        flags: int = 0,
        section: bytes = b"",
        edns: Edns | None = None,
    ) -> None:
        super().__init__(message)
        self.rcode = rcode
        self.id = id
        self.flags = flags
        self.section = section
        self.edns = edns


def parse_question(packet: bytes) -> Question:
    """The question in `packet`, or QuestionError with the rcode to answer it with."""
    if len(packet) < HEADER_SIZE:
        raise QuestionError(f"packet of {len(packet)} bytes", None)
    ident, flags, questions, answers, authorities, additionals = _header(packet)
    if flags & (QR | OPCODE):
        if flags & QR:
            raise QuestionError("a response", None, id=ident, flags=flags)
        raise QuestionError(f"opcode {(flags & OPCODE) >> 11}", NOTIMP, id=ident, flags=flags)
    section = b""
    edns: Edns | None = None
    try:
        if questions != 1 or answers or authorities:
            raise WireError(f"counts {questions}, {answers}, {authorities} in a query")
        # Labels only: nothing stands before this name that a pointer could name.
        pos = HEADER_SIZE
        for _ in LABELS:
            length = packet[pos]
            if not 0 < length <= LABEL_MAX:
                break
            pos += length + 1
        pos += 1
        if length:
            raise WireError(f"label of length byte {length} in the question")
        name = packet[HEADER_SIZE:pos].lower()  # length bytes are below "A", see read_name
        if len(name) > NAME_MAX:
            raise WireError(f"question name of {len(name)} bytes")
        qtype, qclass = _two_words(packet, pos)
        pos += 4
        section = packet[HEADER_SIZE:pos]
        if additionals == 1 and packet.startswith(_OPT_START, pos) and packet[pos + 9 :] == _NO_OPTIONS:
            # As below, at half the price: OPT without options is all that most questions bring.
            rclass, ttl = _opt(packet, pos + 3)
            edns = _new(Edns, (ttl >> 16 & 0xFF, rclass, ttl & DO != 0, b""))
            pos += 11
        elif additionals:
            edns, pos = _read_additional(packet, pos, additionals)
        if pos != len(packet):
            raise WireError(f"{len(packet) - pos} bytes after the last section")
    except (WireError, IndexError, struct.error) as error:
        raise QuestionError(str(error), FORMERR, id=ident, flags=flags, section=section, edns=edns) from error
    return _new(Question, (ident, flags, name, qtype, qclass, section, edns))


def _read_additional(packet: bytes, pos: int, count: int) -> tuple[Edns | None, int]:
    """The OPT record among `count` additional ones, if any, and the position after the last."""
    if count > _ADDITIONALS_MAX:
        raise WireError(f"{count} additional records in a query")
    edns: Edns | None = None
    known: dict[int, Name] = {}
    for _ in range(count):
        if packet.startswith(_OPT_START, pos):
            owner, pos = b"\0", pos + 1
        else:
            owner, pos = read_name(packet, pos, known)
        rtype, rclass, ttl, length = _fixed(packet, pos)
        start = pos + 10
        pos = start + length
        if pos > len(packet):
            raise WireError("record runs past the end of the packet")
        if rtype != OPT:
            continue  # TSIG, SIG(0): not ours to judge
        if edns is not None or owner != b"\0":
            raise WireError("second OPT record, or OPT not at the root")
        if length:
            check_options(packet, start, pos)
        edns = _new(Edns, (ttl >> 16 & 0xFF, rclass, ttl & DO != 0, packet[start:pos]))
    return edns, pos
