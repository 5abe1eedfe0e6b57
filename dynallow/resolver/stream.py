"""One TCP client: length-prefixed questions in, replies out as each gets ready (RFC 7766 section 7).

A question that has to wait does not hold up those behind it. Knows the road's
door and the clock of its own connection; who is served when is `tcp.py`'s.

Invariant 10: whatever the client does, what is kept for it is bounded (what was
read, questions in flight, replies that wait to be written), and it is cut when
for some seconds it has sent no question, not all of one, or not read a reply; and
when what waits for all clients together, replies and halves of long questions, is too much.
"""

from __future__ import annotations

import asyncio
import fcntl
import random
import struct
import termios
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from math import inf
from typing import Protocol, cast

from dynallow.resolver.again import again
from dynallow.resolver.asked import Asked
from dynallow.resolver.options import HopOptions, may_have_options
from dynallow.resolver.road import Road
from dynallow.resolver.witness import Ends, Witness

_PREFIX = 2
_ID = 2
_TCP = 6
_SPREAD = 0.1


@dataclass(frozen=True, slots=True)
class TcpLimits:
    """What TCP clients may take together, and each connection (DESIGN section 10)."""

    connections: int = 1024
    held: int = 32 << 20
    """Bytes of all clients that may wait: to be written, where they do not read as fast as they ask,
    and for the rest of a question that is longer than `read`."""
    turn_s: float = 0.00025
    """So long questions of all clients are answered in one turn of the loop; then it is the others' turn."""
    first_byte_s: float = 3.0
    idle_s: float = 10.0
    message_s: float = 10.0
    """From a question's first byte to its last."""
    write_s: float = 10.0
    """From replies that pile up until enough of them was read."""
    in_flight: int = 64
    """Questions that wait for an answer; those behind them wait in the client's buffer."""
    read: int = 4 << 10
    """Bytes read at once, of each in a turn of the loop. Where so many stand with a whole question among
    them, no more is read until each that is whole has been taken."""
    written: int = 32 << 10
    """Bytes that may wait to be written before no further question is taken."""


DEFAULT_LIMITS = TcpLimits()


class Clients(Protocol):
    """Whom a stream tells how it stands."""

    road: Road
    options: HopOptions
    witness: Witness

    def came(self, stream: Stream) -> bool: ...
    def went(self, stream: Stream) -> None: ...
    def rests(self, stream: Stream, resting: bool) -> None: ...
    def holds(self, more: int) -> bool: ...
    def line_up(self, stream: Stream, first: bool) -> None: ...
    def attend(self) -> None: ...


class Stream(asyncio.BufferedProtocol):
    """One connection, from its making to its loss."""

    def __init__(self, clients: Clients, limits: TcpLimits, memory: bytearray) -> None:
        self._clients = clients
        self._limits = limits
        self._memory = memory
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)  # until it is made
        self._address = b""
        self._received = bytearray()
        self._in_flight = 0
        self._in_line = False
        self._reading = True
        self._ended = False  # no further question comes
        self._closing = False
        self._asked = False
        self._parted = False  # it was told that no more comes
        self._held = 0
        self._half = 0
        # Monotonic seconds; None where that is not so.
        self._blocked_since: float | None = None
        self._message_since: float | None = None
        self._idle_since = self._loop.time()
        self._patience_s = limits.first_byte_s
        # Who came in a crowd shall not go in one: closing hundreds in one turn keeps the others waiting.
        self._spread = 1 + _SPREAD * random.random()
        self._deadline = inf
        self._timer: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------ what asyncio says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place, or none."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self._limits.written)
        peer = self._transport.get_extra_info("peername")
        if not peer or not self._clients.came(self):
            self.cut()
            return
        self._address = ip_address(peer[0].partition("%")[0]).packed
        self._settle()
        self._clients.attend()

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave nothing behind; answers that are still waited for are thrown away."""
        self._leave()
        self._clients.attend()

    def get_buffer(self, sizehint: int) -> bytearray:
        """Where to read into."""
        return self._memory

    def buffer_updated(self, nbytes: int) -> None:
        """So much was read."""
        if self._parted:
            return  # asked before it could know that nobody answers; see `part`
        behind = self._has_question()
        self._received += memoryview(self._memory)[:nbytes]
        self._weigh()
        self._settle(first=not behind)
        self._clients.attend()  # hundreds may be read in one turn

    def eof_received(self) -> bool:
        """The client will ask no more; what it asked is still answered."""
        if self._parted:
            return False
        self._ended = True
        self._settle()
        return not self._closing

    def pause_writing(self) -> None:
        """The client does not read as fast as it asks."""
        self._blocked_since = self._loop.time()

    def resume_writing(self) -> None:
        """It has read."""
        self._blocked_since = None
        self._clients.holds(-self._held)
        self._held = 0
        self._settle()

    # ------------------------------------------------------------ questions and replies

    def wants_turn(self) -> bool:
        """Whether a whole question stands there, and may be taken now; then it stands in line."""
        self._in_line = (
            not self._closing
            and self._blocked_since is None
            and self._in_flight < self._limits.in_flight
            and self._has_question()
        )
        return self._in_line

    def take(self, now: float) -> None:
        """Answer the question that stands first, or begin to; `now` is read after a look at the table."""
        if self._closing or not self._has_question():
            return
        received = self._received
        end = _PREFIX + (received[0] << 8 | received[1])
        packet = bytes(received[_PREFIX:end])
        del received[:end]
        self._message_since = None
        self._asked = True
        self._patience_s = self._limits.idle_s
        if self._half:
            self._weigh()
        road, witness = self._clients.road, self._clients.witness
        refused = road.counts.denied + road.counts.filtered
        if (told := again(road, packet[_ID:], now)) is not None:
            if now >= witness.opens and refused != road.counts.denied + road.counts.filtered:
                road.tasks.attempt(self._show, packet)
            self._write(packet[:_ID] + told)  # without options: whose question has some is not kept
            self._settle()
            return
        met = road.tasks.attempt(road.steps.decide.of(partial(road.meet, udp=False)), packet)
        if now >= witness.opens and refused != road.counts.denied + road.counts.filtered:
            road.tasks.attempt(self._show, packet)
        if isinstance(met, Asked):
            self._in_flight += 1
            road.tasks.begin(self._answer(met))
        elif met is None:  # not a question: nothing more to hear on this connection
            self._read(False)
            self._ended = True
            received.clear()
        else:
            self._tell(met, packet)
        self._settle()

    def _show(self, packet: bytes) -> None:
        """To the witness, while whoever asked waits for the reply: who has it may be gone."""
        peer, own = (self._transport.get_extra_info(key) for key in ("peername", "sockname"))
        address = ip_address(own[0].partition("%")[0]).packed
        self._clients.witness.look(packet, Ends(_TCP, self._address, peer[1], address, own[1]))

    async def _answer(self, asked: Asked) -> None:
        try:
            road = self._clients.road
            reply = await road.steps.whole.waiting(road.answer)(asked)
            self._tell(reply, asked.packet)
        finally:
            self._in_flight -= 1
            self._settle()

    def _tell(self, reply: bytes, packet: bytes) -> None:
        if self._closing:
            return
        if may_have_options(packet):
            reply = self._clients.options.tell(reply, packet, self._address, self._limits.idle_s)
        self._write(reply)

    def _write(self, reply: bytes) -> None:
        if self._transport.is_closing():  # gone, and we hear of it in a moment: asyncio would log each write
            return
        self._idle_since = self._loop.time()
        self._transport.write(struct.pack(">H", len(reply)) + reply)
        if self._blocked_since is not None:
            more = self._transport.get_write_buffer_size() - self._held
            self._held += more
            self._hold(more)

    def _weigh(self) -> None:
        """Tell how much of a long question stands there; what is read at once is every connection's own."""
        more = max(len(self._received) - self._limits.read, 0) - self._half
        if more:
            self._half += more
            self._hold(more)

    def _hold(self, more: int) -> None:
        if not self._clients.holds(more) and more > 0:
            self._clients.road.counts.tcp_cut += 1
            self.cut()

    def _has_question(self) -> bool:
        received = self._received
        return len(received) >= _PREFIX and len(received) - _PREFIX >= (received[0] << 8 | received[1])

    # ------------------------------------------------------------ what comes next, and by when

    def _settle(self, first: bool = False) -> None:
        """After whatever has happened; `first`: nothing of its client stood there before."""
        if self._closing or self._parted:
            return
        ready = self._has_question()
        if self._ended and not ready and not self._in_flight:
            self._close()
            return
        if not self._in_line and self.wants_turn():
            self._clients.line_up(self, first)
        # Told to stop and to go on for each question, the selector would cost more than the answers.
        self._read(not ready or (self._reading and len(self._received) < self._limits.read))
        working = self._blocked_since is None and (ready or self._in_flight > 0)
        self._clients.rests(self, not working)
        self._wait_until(self._ends_at(working, ready))

    def _ends_at(self, working: bool, ready: bool) -> float:
        """When patience ends with what is waited for: reading, the rest of a question, any question."""
        limits = self._limits
        if ready or not self._received:
            self._message_since = None
        elif self._message_since is None:
            self._message_since = self._loop.time()
        if self._blocked_since is not None:
            return self._blocked_since + limits.write_s * self._spread
        if working:
            return inf
        if self._message_since is not None:
            return self._message_since + limits.message_s * self._spread
        return self._idle_since + self._patience_s * self._spread

    def _read(self, reading: bool) -> None:
        if reading == self._reading or self._ended:
            return
        self._reading = reading
        if reading:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _wait_until(self, deadline: float) -> None:
        """Cut then. One timer for all deadlines: most move on before they come, and it looks again."""
        self._deadline = deadline
        if deadline == inf or (self._timer is not None and self._timer.when() <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self._loop.time() < self._deadline:
            self._wait_until(self._deadline)
        elif self._blocked_since is not None or self._closing:
            self._clients.road.counts.tcp_cut += 1
            self.cut()
        else:
            if self._message_since is not None:
                self._clients.road.counts.tcp_cut += 1
            self._close()

    def _close(self) -> None:
        """Nothing more comes from here; what waits to be written may still be read."""
        self._closing = True
        self._received.clear()
        self._weigh()
        self._clients.rests(self, True)
        self._transport.close()
        self._wait_until(self._loop.time() + self._limits.write_s)

    def part(self, patient: bool) -> bool:
        """At the agent's end: once all is answered, say so by FIN; whether that has been said.

        So the client opens a new connection for its next question (RFC 7766 section 6.2.4), and never takes
        one to be read that was not: what it has sent by now, or begun to send, is `patient`ly waited for,
        and who has asked nothing yet may. What comes behind our FIN is thrown away, because a connection
        that is closed upon unread bytes is reset, and replies that its client has not read go with it.
        """
        if self._closing or self._parted:
            return True
        if self._in_flight or (self._has_question() and self._blocked_since is None):
            if not patient:
                self._read(False)
            return False
        waits = not self._asked or self._received or self._transport.get_write_buffer_size()
        if patient and (waits or _unread(self._transport)):
            return False
        self._parted = True
        self._received.clear()
        self._weigh()
        if not self._transport.is_closing():
            self._transport.write_eof()
            self._read(True)
        return True

    def cut(self) -> None:
        """End it at once."""
        self._closing = True
        self._leave()
        self._transport.abort()

    def _leave(self) -> None:
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._clients.holds(-self._held - self._half)
        self._held = self._half = 0
        self._received.clear()
        self._clients.went(self)


def _unread(transport: asyncio.Transport) -> bool:
    """Whether bytes of the client's have come that were not read yet."""
    count = bytearray(4)
    fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, count)
    return any(count)
