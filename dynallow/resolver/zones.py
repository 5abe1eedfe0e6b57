"""The zones above the names that answers point to: a validator asks for their keys as well.

A rule lists `www.example.org`, which is an alias of `cdn.example.net`: the answer is
signed by both zones, and DS and DNSKEY of `example.net` and `net` stand above no listed
name. So they may be asked for while that answer lives, by whoever wants them.

Knows names and ends; must not know the policy. Invariants: a name stands here only
because an upstream's answer to an allowed question points to it or below it; they are at
most `ZONES_MAX`, the oldest goes first. Time is an argument (monotonic seconds).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from dynallow.wire import numbers as n
from dynallow.wire import svcb
from dynallow.wire.names import Name
from dynallow.wire.response import Record

ZONES_MAX: Final = 4096
# The answer has to arrive, and its signatures are looked into, before the keys are asked for.
_LONGER_S: Final = 30.0
_SRV_TARGET: Final = 6


class Zones:
    """Names that may be a zone's, each with the time until which it counts."""

    def __init__(self) -> None:
        self._until: OrderedDict[Name, float] = OrderedDict()
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._until)

    def note(self, records: Iterable[Record], ends: float) -> None:
        """These records are told until `ends`: take in all that is at or above their targets."""
        until = ends + _LONGER_S
        for record in records:
            name = _target(record)
            while name:
                self._until[name] = max(until, self._until.get(name, until))
                self._until.move_to_end(name)
                name = name[name[0] + 1 :]
        while len(self._until) > ZONES_MAX:
            self._until.popitem(last=False)
            self.evicted += 1

    def is_above(self, name: Name, now: float) -> bool:
        """Whether an answer that lives points to `name` or below it."""
        return self._until.get(name, now) > now

    def clear(self) -> None:
        """Forget everything."""
        self._until.clear()


def _target(record: Record) -> Name:
    """The name that the record points to; empty when it is none that a client asks for."""
    if record.rtype == n.CNAME:
        return record.rdata
    if record.rtype == n.SRV:
        return record.rdata[_SRV_TARGET:]
    if record.rtype in (n.HTTPS, n.SVCB):
        return svcb.target(record.rdata)
    return b""
