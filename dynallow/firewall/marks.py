"""What was told of the kernel's counters, kept as bytes for the next agent.

Pure. Knows how it is packed, and when it says nothing any more; must not know how it is used (`tallies.py`)
or where it is kept. Keeps: bytes that are of another boot, of another version or damaged are as none.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

_VERSION = b"dyt1"
_HEAD = struct.Struct("=4sI16sQQ")
_SET = struct.Struct("=I")
_REST = struct.Struct("=QQddQQ")

Epoch = tuple[int, int]
"""The handles of table and set: others where they were made anew."""


@dataclass(slots=True)
class Known:
    """An element as it was seen last."""

    packets: int = 0
    octets: int = 0
    lapses_after: float = 0.0
    """By the monotonic clock; it would lapse after this…"""
    lapses_before: float = 0.0
    """…and before this, if it were counted in no more."""
    epoch: Epoch = (0, 0)
    read: int = 0
    """The number of the read that saw it; no bytes tell it."""


class Marks(NamedTuple):
    """What was told up to some moment."""

    known: dict[str, dict[bytes, Known]]
    """By set and key."""
    denied_before: int
    """Denied packets that earlier tables had counted."""
    denied: int
    """What the counter of this table said last."""


def pack_marks(boot: bytes, marks: Marks) -> bytes:
    """Empty where the boot is not known: they could not be told from another's."""
    if len(boot) != 16:
        return b""
    parts = []
    for name, knowns in sorted(marks.known.items()):
        parts += [struct.pack("=B", len(name)), name.encode(), _SET.pack(len(knowns))]
        for key, known in knowns.items():
            numbers = (known.packets, known.octets, known.lapses_after, known.lapses_before, *known.epoch)
            parts += [key, _REST.pack(*numbers)]
    body = b"".join(parts)
    return _HEAD.pack(_VERSION, zlib.crc32(body), boot, marks.denied_before, marks.denied) + body


def unpack_marks(packed: bytes, boot: bytes, sets: Iterable[tuple[str, int]]) -> Marks:
    """`sets`: names, and the size of their keys."""
    try:
        return _unpack(packed, boot, dict(sets))
    except (struct.error, ValueError, KeyError):
        return Marks({}, 0, 0)


def _unpack(packed: bytes, boot: bytes, sizes: dict[str, int]) -> Marks:
    version, checksum, its_boot, denied_before, denied = _HEAD.unpack_from(packed)
    if version != _VERSION or its_boot != boot or checksum != zlib.crc32(packed[_HEAD.size :]):
        raise ValueError("other marks")
    known: dict[str, dict[bytes, Known]] = {}
    offset = _HEAD.size
    while offset < len(packed):
        length = packed[offset]
        name = packed[offset + 1 : offset + 1 + length].decode()
        offset += 1 + length
        size = sizes[name]
        (count,) = _SET.unpack_from(packed, offset)
        offset += _SET.size
        knowns = known[name] = {}
        for _ in range(count):
            packets, octets, after, before, table, flows = _REST.unpack_from(packed, offset + size)
            knowns[packed[offset : offset + size]] = Known(packets, octets, after, before, (table, flows))
            offset += size + _REST.size
    return Marks(known, denied_before, denied)
