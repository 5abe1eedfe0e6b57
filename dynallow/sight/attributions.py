"""Who sends denied packets and asks denied questions: a sample, from the moment it happens to a name.

    in the loop, at once      whose socket it is, asked of the kernel (some 10 µs, so many a second)
    in a thread, a bit later  process and unit (`who.py`)
    drained by whoever wants  `Attribution`

Must not know rules, counts or history: exact counts come from elsewhere, and are split by these.
Keeps: bounded in time (look-ups a second, the thread's share of a processor) and in memory; what is
over that is counted and left; nothing here raises into whoever calls.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from dynallow.firewall.denied_log import DeniedPacket
from dynallow.firewall.owners import Owner, Owners
from dynallow.policy.names import Name
from dynallow.resolver.seen import question_of
from dynallow.resolver.witness import Ends
from dynallow.sight.who import Census, Who
from dynallow.usage.record import Kind
from dynallow.wire.numbers import HEADER_SIZE

QUESTIONS: Final = 50
"""A second, so many are looked at."""
QUESTIONS_AT_ONCE: Final = 16
PACKETS: Final = 200
"""A second, so many sockets are looked for; of other packets the user is known, and what he runs."""
PACKETS_AT_ONCE: Final = 1000
PENDING_MAX: Final = 2048
KEPT_MAX: Final = 8192
SHARE: Final = 0.05
"""Of a processor, so much is the thread's at most."""
SPENT_AT_ONCE_S: Final = 1.0
"""Of it, so much may be spent before the thread has to rest."""
_TURNS: Final = 3
_UDP: Final = 17
_ID: Final = 2
_QUESTION_END: Final = HEADER_SIZE + 255 + 2
"""Name and type stand before it. What waits is bounded by number: over TCP a packet has 64 KiB."""
_LOOPBACK, _LOOPBACK_6 = b"\x7f", bytes(15) + b"\1"


class Attribution(NamedTuple):
    """Who did it. Of a question name and qtype, of a flow address, protocol and port; others are empty."""

    at: float
    """Seconds of the wall clock."""
    kind: Kind
    who: Who
    name: Name = b""
    qtype: int = 0
    address: bytes = b""
    """Packed."""
    protocol: int = 0
    port: int = 0


@dataclass(slots=True)
class AttributionCounts:
    """Since the agent's start."""

    attributed: int = 0
    dropped: int = 0
    """Seen, and left for want of time or room."""
    unowned: int = 0
    """Of those attributed: the socket was not to be found; refused by a reset it never is."""


class _Pending(NamedTuple):
    at: float
    user: int | None
    owner: Owner | None
    question: bytes
    """As far as `question_of` reads; empty for a denied packet."""
    ends: Ends
    """Of a denied packet where it was to go."""


class _Tokens:
    """So many a second, and so many at once. Time is an argument (monotonic seconds)."""

    def __init__(self, rate: int, at_once: int) -> None:
        self._step_s = 1 / rate
        self._lead_s = (at_once - 1) / rate
        self._next = 0.0
        self.opens = 0.0
        """From when on there is one more."""

    def take(self, now: float) -> None:
        """One."""
        self._next = max(self._next, now) + self._step_s
        self.opens = self._next - self._lead_s


class Attributions:
    """The witness of denied questions, and who hears of denied packets."""

    def __init__(
        self,
        own: Container[bytes] = frozenset(),
        census: Census | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`own` are the host's addresses, packed."""
        self._own = own
        self.counts = AttributionCounts()
        self.opens = 0.0
        """See `resolver.witness.Witness`."""
        self._census = census or Census()
        self._clock, self._wall = clock, wall
        self._owners, self._owners_later = Owners(), Owners()
        self._questions = _Tokens(QUESTIONS, QUESTIONS_AT_ONCE)
        self._packets = _Tokens(PACKETS, PACKETS_AT_ONCE)
        self._pending: list[_Pending] = []
        self._some = asyncio.Event()
        self._kept: list[Attribution] = []
        self._idle = asyncio.Event()
        self._idle.set()

    def drain(self) -> list[Attribution]:
        """What has become known since the last time, in the order of its happening, roughly."""
        kept, self._kept = self._kept, []
        return kept

    async def settled(self) -> None:
        """Return when nobody was seen who is not known yet."""
        for _ in range(_TURNS):  # whoever was refused by now: his packet may wait to be read
            await asyncio.sleep(0)
        await self._idle.wait()

    # ------------------------------------------------------------ in the loop, at once

    def look(self, packet: bytes, ends: Ends) -> None:
        """See `resolver.witness.Witness`."""
        self._questions.take(self._clock())
        self.opens = self._questions.opens
        owner = self._owners.look_up(*ends) if self._is_here(ends.source) else None
        self._put(_Pending(self._wall(), None, owner, packet[_ID:_QUESTION_END], ends))

    def hear(self, packets: Sequence[DeniedPacket]) -> None:
        """Denied packets, just now."""
        for packet in packets:
            ends = Ends(packet.protocol, packet.source, packet.source_port, packet.address, packet.port)
            owner, now = None, self._clock()
            if now >= self._packets.opens:
                self._packets.take(now)
                owner = self._owners.look_up(*ends)
            self._put(_Pending(packet.at, packet.uid, owner, b"", ends))

    def _put(self, pending: _Pending) -> None:
        if len(self._pending) >= PENDING_MAX:
            self.counts.dropped += 1
            return
        self._pending.append(pending)
        self._some.set()
        self._idle.clear()

    # ------------------------------------------------------------ in a thread, a bit later

    async def watch(self) -> None:
        """Never ends."""
        spent_s, before = 0.0, self._clock()
        while True:
            await self._some.wait()
            self._some.clear()
            pending, self._pending = self._pending, []
            named, took_s = await asyncio.to_thread(self._name, pending)
            room = KEPT_MAX - len(self._kept)
            self._kept += named[:room]
            self.counts.attributed += len(named[:room])
            self.counts.dropped += len(pending) - len(named[:room])
            self.counts.unowned += sum(one.owner is None for one in pending)
            if not self._pending:
                self._idle.set()
            now = self._clock()
            spent_s, before = max(spent_s - (now - before) * SHARE, 0.0) + took_s, now
            if spent_s > SPENT_AT_ONCE_S:
                await asyncio.sleep((spent_s - SPENT_AT_ONCE_S) / SHARE)

    def close(self) -> None:
        """Ask nothing more."""
        for each in (self._owners, self._owners_later, self._census):
            each.close()

    def _name(self, pending: list[_Pending]) -> tuple[list[Attribution], float]:
        """And the seconds of a processor that it took."""
        began = time.thread_time()
        self._census.look_anew()
        named = [told for one in pending if (told := self._attribution(one)) is not None]
        return named, time.thread_time() - began

    def _attribution(self, pending: _Pending) -> Attribution | None:
        at, user, owner, question, ends = pending
        if not question:
            who = self._census.who(user, owner)
            return Attribution(at, "flow", who, b"", 0, ends.address, ends.protocol, ends.port)
        try:
            name, qtype = question_of(question)
        except IndexError:  # it is no question
            return None
        if owner is None and self._is_here(ends.source):
            owner = self._turned(ends)
        return Attribution(at, "question", self._census.who(None, owner), name, qtype)

    def _turned(self, ends: Ends) -> Owner | None:
        """A client that asked somebody else, and whose packets were turned to us: its port is what is left.

        Where two have the port, on two addresses, it is nobody's.
        """
        family = socket.AF_INET if len(ends.source) == 4 else socket.AF_INET6
        found = self._owners_later.at_port(ends.protocol, family, ends.source_port)
        if not found and ends.protocol == _UDP and family == socket.AF_INET:
            # An IPv6 socket that speaks IPv4.
            found = self._owners_later.at_port(ends.protocol, socket.AF_INET6, ends.source_port)
        return found[0] if len(found) == 1 else None

    def _is_here(self, source: bytes) -> bool:
        """Whether a client is on this host: one elsewhere may have a port that somebody here has too."""
        return source in self._own or source[:1] == _LOOPBACK or source == _LOOPBACK_6
