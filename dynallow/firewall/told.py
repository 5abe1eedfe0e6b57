"""What was told of the kernel's counters, and what of their next state is new.

Pure: elements and moments (monotonic seconds) go in. Must not know how elements are read (`tallies.py`) or
where the marks are kept.

Keeps: nothing is told twice, nothing is negative. The kernel's numbers only grow while an element lives; that
one has begun anew is told by what cannot be otherwise:

    a number that is less           than it was
    the same, in a later life       the element was counted in after the time at which it would have lapsed
    an element of another table     without the mark of one whose counter goes on (`step.CARRIED_ON`)
    one that was not there          in a look after its time; in three, if the set may have changed under them

What may be either is taken for the less. (Told too low is an element that lapses, and counts more than before
ahead of the next look; or one of a set that somebody else has emptied, of which the same is true.)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dynallow.firewall.counted import Counted

_VERSION = b"dyt1"
_CHECK = struct.Struct("=4sI")  # the version, and a checksum of all that follows
_HEAD = struct.Struct("=16sQQ")
_SET = struct.Struct("=I")
_REST = struct.Struct("=QQddQQ")
_SLACK_S = 0.05  # a tick of the kernel's, and milliseconds rounded
_MISSED = 2
"""Looks in a row that may pass over an element that is there, because the set changes under them."""

Epoch = tuple[int, int]
"""The handles of table and set: others where they were made anew."""


class Seen(NamedTuple):
    """Elements, and between which moments they were looked at."""

    flows: Sequence[Counted]
    after: float
    before: float


@dataclass(slots=True)
class _Known:
    """An element as it was seen last."""

    packets: int = 0
    octets: int = 0
    lapses_after: float = 0.0
    """It would lapse after this…"""
    lapses_before: float = 0.0
    """…and before this, if nothing were counted in it."""
    epoch: Epoch = (0, 0)
    look: int = 0
    """The number of the look that saw it; no bytes tell it."""


class Told:
    """By set and key: what was told. And how many denied packets there were, of all tables."""

    def __init__(self) -> None:
        self._known: dict[str, dict[bytes, _Known]] = {}
        self._look = 0
        self._denied_before = 0
        """What the counters of earlier tables had reached."""
        self._denied = 0

    def look(self) -> None:
        """What follows was seen at another look."""
        self._look += 1

    def take(self, name: str, seen: Seen, epoch: Epoch) -> Iterator[tuple[bytes, int, int]]:
        """Key, packets and octets that are new, of elements of the set `name`; with that they are told."""
        flows, after, before = seen
        knowns = self._known.setdefault(name, {})
        for flow in flows:
            key, packets, octets, expires_ms, _ = flow
            known = knowns.get(key)
            if known is None:
                known = knowns[key] = _Known()
                new = packets, octets
            elif known.packets == packets and known.epoch == epoch and known.lapses_after > before:
                known.look = self._look  # nothing: it cannot have lapsed
                continue
            elif self._is_another(known, flow, seen, epoch):
                new = packets, octets
            else:
                new = max(0, packets - known.packets), max(0, octets - known.octets)
            known.packets, known.octets = packets, octets
            known.lapses_after, known.lapses_before = after + expires_ms / 1000, before + expires_ms / 1000
            known.epoch, known.look = epoch, self._look
            if new[0]:
                yield key, *new

    def forget(self, name: str, began: float, *, whole: bool) -> None:
        """What is gone from this set. `began`: when this look did; `whole`: it told all that was there."""
        knowns = self._known.get(name, {})
        missed = 0 if whole else _MISSED
        gone = [
            key
            for key, known in knowns.items()
            if self._look - known.look > missed and known.lapses_before + _SLACK_S < began
        ]
        for key in gone:
            del knowns[key]

    def count(self, name: str) -> int:
        """How many elements of this set are known."""
        return len(self._known.get(name, ()))

    def total(self, denied: int) -> int:
        """Denied packets in all, the counter saying `denied` now."""
        if denied < self._denied:
            self._denied_before += self._denied
        self._denied = denied
        return self._denied_before + denied

    def _is_another(self, known: _Known, flow: Counted, seen: Seen, epoch: Epoch) -> bool:
        """Whether the element has begun anew since it was seen, for certain."""
        if known.epoch != epoch:
            return not flow.carried
        if flow.packets < known.packets or flow.octets < known.octets:
            return True
        counted_in = seen.after + flow.expires_ms / 1000 > known.lapses_before + _SLACK_S
        return flow.packets == known.packets and counted_in and known.lapses_after < seen.before + _SLACK_S

    # ------------------------------------------------------------ for the next agent

    def pack(self, boot: bytes) -> bytes:
        """Marks; empty where the boot is not known, for they could not be told from another's."""
        if len(boot) != 16:
            return b""
        parts = [_HEAD.pack(boot, self._denied_before, self._denied)]
        for name, knowns in self._known.items():
            parts += [struct.pack("=B", len(name)), name.encode(), _SET.pack(len(knowns))]
            for key, known in knowns.items():
                numbers = (known.packets, known.octets, known.lapses_after, known.lapses_before)
                parts += [key, _REST.pack(*numbers, *known.epoch)]
        body = b"".join(parts)
        return _CHECK.pack(_VERSION, zlib.crc32(body)) + body


def unpack(marks: bytes, boot: bytes, sizes: Mapping[str, int]) -> Told:
    """What they say; nothing, if they are of another boot (neither clock nor counters go on), of another
    version, or damaged. `sizes`: of the keys, by set.
    """
    try:
        return _unpack(marks, boot, sizes)
    except (struct.error, ValueError, KeyError, IndexError):
        return Told()


def _unpack(marks: bytes, boot: bytes, sizes: Mapping[str, int]) -> Told:
    version, checksum = _CHECK.unpack_from(marks)
    its_boot, denied_before, denied = _HEAD.unpack_from(marks, _CHECK.size)
    if version != _VERSION or checksum != zlib.crc32(marks[_CHECK.size :]) or its_boot != boot:
        raise ValueError("other marks")
    told = Told()
    told._denied_before, told._denied = denied_before, denied
    offset = _CHECK.size + _HEAD.size
    while offset < len(marks):
        first = offset + 1
        name = marks[first : first + marks[offset]].decode()
        offset = first + len(name)
        size = sizes[name]
        (count,) = _SET.unpack_from(marks, offset)
        offset += _SET.size
        knowns = told._known[name] = {}
        for _ in range(count):
            packets, octets, after, before, table, flows = _REST.unpack_from(marks, offset + size)
            knowns[marks[offset : offset + size]] = _Known(packets, octets, after, before, (table, flows))
            offset += size + _REST.size
    return told
