"""Reading domain names out of a message, compressed or not.

Knows labels and compression pointers (RFC 1035 section 4.1.4) and nothing of
records. Must stay linear: a 64 KiB message can hold thousands of names that
each point at a chain of thousands of pointers.

Invariants: a pointer leads to a piece that ends before the piece that holds the
pointer begins, so loops cannot be written down and no byte is read as two
things; every name is at most 255 bytes; what a pointer led to is kept in
`known` and read once.

Reads past the end raise IndexError on purpose: the bounds check is the
interpreter's, and each public parser turns it into a WireError in one place.
"""

from __future__ import annotations

from typing import Final

from dynallow.errors import WireError
from dynallow.wire.numbers import HEADER_SIZE

Name = bytes
"""Uncompressed wire form, ASCII lower case, ending in a zero byte."""

NAME_MAX: Final = 255
LABEL_MAX: Final = 63
LABELS: Final = range(128)
"""To read a name by: 127 labels and the root's byte. More do not fit, and 64 KiB of them are not read on."""
_POINTER: Final = 0xC0
# Honest writers point at the first place where a name stands: one pointer, seldom
# two. With 127 labels a name the work stays below 20 steps a byte of message.
_POINTERS_MAX: Final = 16


def read_name(packet: bytes, pos: int, known: dict[int, Name]) -> tuple[Name, int]:
    """The name at `pos`, decompressed and lower-cased, and the position after it.

    `known` maps offsets to names read before in this message; every offset in it
    lies before `pos`, because messages are read front to back.
    """
    start = pos
    for _ in LABELS:
        length = packet[pos]
        if not 0 < length <= LABEL_MAX:
            break
        pos += length + 1
    # lower() may run over the length bytes too: they are below 64, and "A" is 65.
    if length == 0:
        pos += 1
        name = packet[start:pos].lower()
    elif length >= _POINTER:
        target = (length & LABEL_MAX) << 8 | packet[pos + 1]
        tail = known.get(target)
        if tail is None:
            tail = known[target] = _follow(packet, target, start)
        name = packet[start:pos].lower() + tail
        pos += 2
    else:
        raise WireError(f"label type {length >> 6:02b} in a name at byte {start}")
    if len(name) > NAME_MAX:
        raise WireError(f"name of {len(name)} bytes at byte {start}")
    known[start] = name
    return name, pos


def _follow(packet: bytes, target: int, limit: int) -> Name:
    """The name at `target`, which a pointer in a piece that begins at `limit` leads to."""
    pieces: list[bytes] = []
    for _ in range(_POINTERS_MAX):
        if not HEADER_SIZE <= target < limit:
            raise WireError(f"compression pointer to byte {target} from byte {limit}")
        pos = target
        for _label in LABELS:
            length = packet[pos]
            if not 0 < length <= LABEL_MAX:
                break
            pos += length + 1
            if pos >= limit:
                raise WireError(f"name at byte {target} runs into the pointer that leads to it")
        pieces.append(packet[target:pos])
        if length == 0:
            return b"".join(pieces).lower() + b"\0"
        if length < _POINTER:
            raise WireError(f"label type {length >> 6:02b} in a name at byte {pos}")
        if pos + 2 > limit:
            raise WireError(f"name at byte {target} runs into the pointer that leads to it")
        limit = target
        target = (length & LABEL_MAX) << 8 | packet[pos + 1]
    raise WireError(f"more than {_POINTERS_MAX} compression pointers in a row")


def is_at_or_below(name: Name, ancestor: Name) -> bool:
    """Whether `ancestor` is `name` itself or one of its parents, label by label.

    A plain endswith() is wrong: a label may hold any bytes, also those of
    another name's ending.
    """
    pos = 0
    spare = len(name) - len(ancestor)
    while pos < spare:
        pos += name[pos] + 1
    return name[pos:] == ancestor
