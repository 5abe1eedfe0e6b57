"""A connection that many questions share: what is the same for DNS over TCP, TLS and HTTPS.

Knows transports and who waits; must not know what is on the wire, nor how a
connection is made. Keeps: whoever waits here is told in the end, and what one
connection can hold (questions, bytes not looked at) is bounded.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Iterable
from typing import Protocol, cast

from dynallow.resolver.upstream.asked import Asked, Message, lost
from dynallow.resolver.upstream.datagrams import ExchangeCounts

ON_ONE_LINE = 1024
"""Questions on one connection, those that nobody waits for any more included."""
_UNREAD_MAX = 1 << 20  # bytes that were received and are not parsed yet: then the server has to wait
_IDLE_S = 20.0  # RFC 7766 section 6.2.3: seconds, not minutes


class Owner(Protocol):
    """Who keeps the line, and is told of its end."""

    counts: ExchangeCounts

    def lost(self, line: Line) -> None:
        """Ask no more on it: it is gone, or is going to be."""


class Line(asyncio.Protocol):
    """One connection; `send` and `give_up` are for its owner alone."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.answers = 0
        self.why_lost = ""
        self._ended = False
        self._unread = 0
        self._used = 0.0
        self._paused = False
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

    # ------------------------------------------------------------ answers

    def tell(self, asked: Asked, message: Message) -> None:
        """Hand an answer to who waits for it; he parses it in his own time."""
        self.answers += 1
        if asked.told.done():  # he is about to leave
            return
        self._unread += len(message.packet)
        if self._unread > _UNREAD_MAX and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        asked.told.set_result(message)

    def leave(self, asked: Asked) -> None:
        """He waits no more, with or without his answer; called once for each that was sent."""
        told = asked.told
        if not told.done() or told.cancelled() or told.exception() is not None:
            self.give_up(asked)
            return
        self._unread -= len(told.result().packet)
        if self._paused and self._unread <= _UNREAD_MAX and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def write(self, data: bytes) -> None:
        """To the server; bounded, because the questions are."""
        if self._transport is not None and not self._ended:
            self._used = asyncio.get_running_loop().time()
            self._transport.write(data)

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
        self._end(why or "the server closed the connection")
        self._transport = None

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
