"""The most work that one message, one answer or one ledger can make. Pure.

Knows the message format and the package's caps; must not know clocks. Invariant:
every message is as large as a message can be, so that what a parser does with it is
the worst of its kind.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from dynallow.lease.grant import Grant, Limits
from dynallow.lease.ledger import Ledger
from dynallow.wire.numbers import CNAME, HEADER_SIZE, HTTPS, MESSAGE_MAX, OPT, QR, TXT, A
from dynallow.wire.response import Record

IDENT = 0x1234
NAME = b"\x03www\x05bench\x07example\x03org\0"
_QUESTION_AT = HEADER_SIZE
_ROOM = MESSAGE_MAX - HEADER_SIZE - len(NAME) - 4
_TTL_S = 3600
_STRINGS, _PARAMETERS, _OPTIONS = 1024, 32, 256  # the most that the parser takes in one record


def address(number: int) -> bytes:
    """Public addresses, one after the other."""
    return struct.pack(">I", 0xC6120001 + number)


def _message(body: bytes, answers: int, additionals: int = 0) -> bytes:
    header = struct.pack(">6H", IDENT, QR, 1, answers, 0, additionals)
    return header + NAME + struct.pack(">HH", A, 1) + body


def _record(owner: bytes, rtype: int, rdata: bytes) -> bytes:
    return owner + struct.pack(">HHIH", rtype, 1, _TTL_S, len(rdata)) + rdata


def _pointer(offset: int) -> bytes:
    return struct.pack(">H", 0xC000 | offset)


def _filled(record: Callable[[int, int], bytes], *, additional: bool = False) -> bytes:
    """A message full of `record(number, offset of that record)`."""
    parts: list[bytes] = []
    size = 0
    while size + len(made := record(len(parts), MESSAGE_MAX - _ROOM + size)) <= _ROOM:
        parts.append(made)
        size += len(made)
    return _message(b"".join(parts), 0 if additional else len(parts), len(parts) if additional else 0)


def addresses() -> bytes:
    """Some 4,000 A records at the name that was asked."""
    return _filled(lambda number, _: _record(_pointer(_QUESTION_AT), A, address(number)))


def deep_compression() -> bytes:
    """Each owner is one label before the owner of the record before it, 100 deep, again and again."""
    places: list[int] = []

    def record(number: int, offset: int) -> bytes:
        # A pointer reaches 16 KiB: behind that, the last place that one can name.
        depth = number % 100
        owner = b"\x01a" + _pointer(places[-1] if depth and places else _QUESTION_AT)
        if offset < 0x4000:
            places.append(offset)
        return _record(owner, A, address(number))

    return _filled(record)


def aliases() -> bytes:
    """CNAMEs only, each leading to the next: one chain of thousands of links."""

    def name(number: int) -> bytes:
        return b"\x04" + f"{number:04x}".encode() + _pointer(_QUESTION_AT)

    return _filled(
        lambda number, _: _record(name(number) if number else _pointer(_QUESTION_AT), CNAME, name(number + 1))
    )


def long_names() -> bytes:
    """Owners of 255 bytes, 127 labels each, none compressed."""
    return _filled(lambda number, _: _record(b"\x01a" * 126 + bytes((1, 97 + number % 26, 0)), A, address(0)))


def texts() -> bytes:
    """TXT records of empty strings: a length byte is all that each string has."""
    return _filled(lambda number, _: _record(_pointer(_QUESTION_AT), TXT, bytes(_STRINGS)))


def service_parameters() -> bytes:
    """HTTPS records with as many empty parameters as one may have."""
    parameters = b"".join(struct.pack(">HH", 32768 + key, 0) for key in range(_PARAMETERS))
    return _filled(lambda number, _: _record(_pointer(_QUESTION_AT), HTTPS, b"\0\x01\0" + parameters))


def additional() -> bytes:
    """A section that is read only to be thrown away, with as many EDNS options as one may have."""
    edns = _record(b"\0", OPT, struct.pack(">HH", 9, 0) * _OPTIONS)
    return _filled(
        lambda number, _: _record(_pointer(_QUESTION_AT), A, address(number)) if number else edns,
        additional=True,
    )


def heap_of_strings() -> bytes:
    """One TXT record of 60,000 empty strings."""
    return _message(_record(_pointer(_QUESTION_AT), TXT, bytes(60_000)), 1)


def heap_of_parameters() -> bytes:
    """One HTTPS record with as many empty parameters as a message holds."""
    count = (_ROOM - 15) // 4
    parameters = b"".join(struct.pack(">HH", 32768 + key, 0) for key in range(count))
    return _message(_record(_pointer(_QUESTION_AT), HTTPS, b"\0\x01\0" + parameters), 1)


def heap_of_options() -> bytes:
    """An OPT record full of empty options."""
    count = (_ROOM - 11) // 4
    return _message(_record(b"\0", OPT, struct.pack(">HH", 9, 0) * count), 0, 1)


def garbage() -> bytes:
    """Noise behind a right question, with counts that promise 65,535 records."""
    return _message(random.Random(1).randbytes(_ROOM), 0xFFFF)


def late_fault() -> bytes:
    """Good to the last byte but one: all the work is done before it is refused."""
    whole = addresses()
    return whole[:-20] + whole[-16:]


MESSAGES: dict[str, Callable[[], bytes]] = {
    "4,000 A records": addresses,
    "owners compressed 100 deep": deep_compression,
    "a chain of CNAMEs": aliases,
    "names of 127 labels": long_names,
    "TXT of empty strings": texts,
    "HTTPS of empty parameters": service_parameters,
    "additional records": additional,
    "a heap of strings": heap_of_strings,
    "a heap of parameters": heap_of_parameters,
    "a heap of options": heap_of_options,
    "garbage": garbage,
    "cut off at the end": late_fault,
}
REFUSED = frozenset(list(MESSAGES)[-5:])
"""Those that must end in an error."""


def records(count: int) -> tuple[Record, ...]:
    """A records of one name, as a parser returns them."""
    return tuple((NAME, A, _TTL_S, address(number)) for number in range(count))


def grants(count: int, rules: int) -> list[Grant]:
    """What an answer with so many addresses grants when so many rules list its name."""
    addresses = tuple(map(address, range(count)))
    return [Grant(f"rule-{rule}", addresses, _TTL_S, NAME) for rule in range(rules)]


def ledger(leases: int, until: float) -> Ledger:
    """One rule with so many leases, each earned by a name of its own."""
    built = Ledger(Limits(max_per_rule=leases + 1), ["rule-0"])
    built.commit(
        ("rule-0", address(number), until, b"\x08%08x" % number + NAME, True, False)
        for number in range(leases)
    )
    return built
