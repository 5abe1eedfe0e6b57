"""A connection that many questions share: what is the same for DNS over TCP, TLS and HTTPS.

Knows transports and who waits; must not know what is on the wire, nor how a
connection is made. Keeps: whoever waits here is told in the end, and what one
connection can hold (questions, bytes not looked at) is bounded.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Protocol, cast

from dynallow.resolver.upstream.asked import Asked, Message, lost
from dynallow.resolver.upstream.datagrams import ExchangeCounts

ON_ONE_LINE = 1024
"""Questions on one connection, those that nobody waits for any more included."""
_UNREAD_MAX = 1 << 20  # bytes that were received and are not parsed yet: then the server has to wait
_UNSENT_MAX = 1 << 20  # more than all questions that fit on a line
_IDLE_S = 20.0  # RFC 7766 section 6.2.3: seconds, not minutes
_LOOK_S = 0.0005  # how long a turn of the loop is spent on what one server said


class Owner(Protocol):
    """Who keeps the line, and is told of its end."""

    counts: ExchangeCounts

    def lost(self, line: Line) -> None:
        """Ask no more on it: it is gone, or is going to be."""


class Line(asyncio.Protocol):
    """One connection; `send` and `give_up` are for its owner alone."""

    slice_bytes: ClassVar[int]
    """How much is looked at in one go: half a millisecond's work, whatever it is."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.answers = 0
        self.why_lost = ""
        self._ended = False
        self._unread = 0
        self._backlog = bytearray()
        self._digesting = False
        self._holds: set[str] = set()
        self._gone = ""
        self._used = 0.0
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------ what each kind does

    @abstractmethod
    def send(self, asked: Asked) -> None:
        """Put the question on the wire. Raises TurnedAwayError when no more fit."""

    @abstractmethod
    def give_up(self, asked: Asked) -> None:
        """Nobody waits for this one any more; what comes of it later is no fault."""

    @abstractmethod
    def waiting(self) -> Iterable[Asked]:
        """Who waits for an answer."""

    @abstractmethod
    def received(self, data: bytes) -> None:
        """Some of what the server says."""

    # ------------------------------------------------------------ answers

    def tell(self, asked: Asked, message: Message) -> None:
        """Hand an answer to who waits for it; he parses it in his own time."""
        self.answers += 1
        if asked.told.done():  # he is about to leave
            return
        self._unread += len(message.packet)
        if self._unread > _UNREAD_MAX:
            self._hold("unread")
        asked.told.set_result(message)

    def leave(self, asked: Asked) -> None:
        """He waits no more, with or without his answer; called once for each that was sent."""
        self._used = asyncio.get_running_loop().time()
        told = asked.told
        if not told.done() or told.cancelled() or told.exception() is not None:
            self.give_up(asked)
            return
        self._unread -= len(told.result().packet)
        if self._unread <= _UNREAD_MAX:
            self._release("unread")

    def write(self, data: bytes) -> None:
        """To the server. One that makes us answer (HTTP/2's PING) and does not read is cut off."""
        if self._transport is None or self._ended:
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > _UNSENT_MAX:
            self.break_off("it does not read")

    # ------------------------------------------------------------ life

    @property
    def is_open(self) -> bool:
        """Whether questions can go out on it."""
        return self._transport is not None and not self.why_lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        loop = asyncio.get_running_loop()
        self._used = loop.time()
        self._timer = loop.call_later(_IDLE_S, self._look_whether_idle)

    def connection_lost(self, error: Exception | None) -> None:
        why = getattr(error, "strerror", None) or (str(error) if error else "")
        self._gone = why or "the server closed the connection"
        self._transport = None
        if not self._backlog:  # what it said before counts
            self._end(self._gone)

    def data_received(self, data: bytes) -> None:
        if self._ended:  # it talks on while we say goodbye
            return
        self._backlog += data
        if not self._digesting:
            self._digest()

    def _digest(self) -> None:
        """A little each turn of the loop: TLS hands over 256 KiB at once, which may take seconds."""
        self._digesting = False
        now = asyncio.get_running_loop().time
        until = now() + _LOOK_S
        while not self._ended:
            piece = bytes(self._backlog[: self.slice_bytes])
            del self._backlog[: self.slice_bytes]
            try:
                self.received(piece)
            except Exception:  # ours or a library's: nobody may wait for what stands behind it
                self.break_off("what it sent could not be read")
                raise
            if not self._backlog or now() >= until:
                break
        if self._ended:
            self._backlog.clear()
        elif self._backlog:
            self._digesting = True
            self._hold("backlog")
            asyncio.get_running_loop().call_soon(self._digest)
        else:
            self._release("backlog")
            if self._gone:
                self._end(self._gone)

    def _hold(self, reason: str) -> None:
        """The server has to wait."""
        if not self._holds and self._transport is not None:
            self._transport.pause_reading()
        self._holds.add(reason)

    def _release(self, reason: str) -> None:
        if reason in self._holds:
            self._holds.discard(reason)
            if not self._holds and self._transport is not None:
                self._transport.resume_reading()

    def eof_received(self) -> None:
        """The server will say no more: nothing to wait for."""

    def break_off(self, why: str) -> None:
        """At once, and without a word."""
        self._end(why)
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Politely; for when nobody waits."""
        self._end("closed here")
        if self._transport is not None:
            self._transport.close()

    def _end(self, why: str) -> None:
        if self._ended:
            return
        self._ended = True
        self.why_lost = self.why_lost or why
        if self._timer is not None:
            self._timer.cancel()
        self.owner.lost(self)
        for asked in list(self.waiting()):
            if not asked.told.done():
                asked.told.set_exception(lost(why))

    def _look_whether_idle(self) -> None:
        loop = asyncio.get_running_loop()
        busy = any(not asked.told.done() for asked in self.waiting())
        if not busy and loop.time() - self._used >= _IDLE_S:
            self.close()
        else:
            left_s = _IDLE_S if busy else self._used + _IDLE_S - loop.time()
            self._timer = loop.call_later(max(left_s, 0.1), self._look_whether_idle)
