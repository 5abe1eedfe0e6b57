"""One server that is asked over a connection which is kept: TCP, TLS or HTTPS.

Knows when a connection is opened, given up and opened again; must not know what
is on the wire (`line.py` and those above it) nor which server is next. Keeps: no
question waits longer than its deadline, whoever else waits for the same
connection; an open connection is shared by all; one that is lost costs each
question on it one more try on another, not more.
"""

from __future__ import annotations

import asyncio
import errno
import math
from collections.abc import Awaitable, Callable

from dynallow.errors import WireError
from dynallow.resolver.upstream.asked import Asked, LostError, Message, lost, turned_away
from dynallow.resolver.upstream.datagrams import ExchangeCounts
from dynallow.resolver.upstream.line import ON_ONE_LINE, Line, Owner
from dynallow.tasks import Tasks
from dynallow.wire.response import MismatchError, Record, Response, parse_in_slices

Opener = Callable[[Owner], Awaitable[Line]]
"""Makes a connection for its owner. Raises OSError; `TurnedAwayError` where the server was there."""

_OPEN_S = 2.0
_TOO_LATE_S = 0.01  # what is left is not worth a connection
# After the second failure in a row; a server that is back is asked within a second or so.
_PAUSE_S, _PAUSE_MAX_S = 0.1, 1.0


class Stream:
    """The server; `ask` opens the connection when there is none."""

    def __init__(self, opener: Opener, tasks: Tasks, counts: ExchangeCounts) -> None:
        self.counts = counts
        self._opener = opener
        self._tasks = tasks
        self._line: Line | None = None
        self._opening: asyncio.Task[None] | None = None
        self._queue: dict[Asked, None] = {}
        """Who waits for the connection, in their order."""
        self._failures = 0
        self._closed_until = 0.0
        self._fault: OSError = lost("not connected")

    def close(self) -> None:
        """Ask no more, whoever still has a try left."""
        if self._opening is not None:
            self._opening.cancel()
        if self._line is not None:
            self._line.break_off("closed here")
        self._fault, self._closed_until = lost("closed here"), math.inf

    async def ask(self, name: bytes, qtype: int, deadline: float, how: int = 0) -> Response:
        """The server's validated response, before the loop's time is `deadline`; `how`: see `build_query`.

        Raises OSError or TimeoutError (silence), TurnedAwayError (no answer), WireError (nonsense).
        """
        try:
            return await self._ask(name, qtype, deadline, how)
        except LostError as error:  # an idle connection is often closed just as it is used again
            if asyncio.get_running_loop().time() > deadline - _TOO_LATE_S:
                raise TimeoutError from error
            return await self._ask(name, qtype, deadline, how)

    async def _ask(self, name: bytes, qtype: int, deadline: float, how: int) -> Response:
        loop = asyncio.get_running_loop()
        asked = Asked(name, qtype, loop.create_future(), how)
        self._send(asked)
        # Not asyncio.timeout: a fresh question is no task before its first wait.
        timer = loop.call_at(deadline, self._expire, asked)
        try:
            return await self._read(asked, await asked.told)
        finally:
            timer.cancel()
            self._queue.pop(asked, None)
            if asked.line is not None:
                asked.line.leave(asked)
            del asked  # it holds the error that has come through here, and that holds this frame

    async def _read(self, asked: Asked, message: Message) -> Response:
        self._failures = 0
        try:
            for response in parse_in_slices(
                message.packet, id=message.ident, name=asked.name, qtype=asked.qtype
            ):
                if response is None:  # 64 KiB can be made to take 100 ms
                    await asyncio.sleep(0)
                elif response.truncated:
                    raise WireError("truncated, and not over UDP")
                else:
                    return _aged(response, message.age_s)
        except MismatchError:
            self.counts.mismatched += 1
            if asked.line is not None:
                asked.line.break_off("it answered another question")
            raise
        except WireError:
            self.counts.malformed += 1
            raise
        raise WireError("no message")

    def _expire(self, asked: Asked) -> None:
        """Its time is over. When nothing at all was answered since it was asked, nobody is there.

        The others on that connection are asked again at once on a new one.
        """
        if asked.told.done():
            return
        asked.told.set_exception(TimeoutError())
        line = asked.line
        if line is not None and line.is_open and line.answers == asked.answers_before:
            line.break_off("nothing was answered in time")

    # ------------------------------------------------------------ the connection

    def _send(self, asked: Asked) -> None:
        """On the connection, or as soon as there is one. Raises OSError when there is to be none now."""
        if self._line is not None:
            self._put(self._line, asked)
            return
        if len(self._queue) >= ON_ONE_LINE:
            raise turned_away(f"{ON_ONE_LINE} questions wait for a connection")
        if self._opening is None:
            if asyncio.get_running_loop().time() < self._closed_until:
                raise _twin(self._fault)
            self._opening = self._tasks.start(self._open())
        self._queue[asked] = None

    def _put(self, line: Line, asked: Asked) -> None:
        asked.line, asked.answers_before = line, line.answers
        line.send(asked)

    async def _open(self) -> None:
        """Everybody in the queue gets the connection, or is told why there is none."""
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(_OPEN_S):
                line = await self._opener(self)
            if not line.is_open:
                raise lost(line.why_lost or "the server closed the connection")
        except TimeoutError:  # not ETIMEDOUT: that is what a question without an answer has
            self._fell_short(OSError(errno.EHOSTUNREACH, f"no connection in {_OPEN_S:.1f} s"), began)
        except OSError as error:
            self._fell_short(error, began)
        else:
            self._line = line
            for asked in self._take_queue():
                try:
                    self._put(line, asked)
                except OSError as error:
                    asked.told.set_exception(error)
        finally:
            self._opening = None
            for asked in self._take_queue():  # it was cancelled
                asked.told.set_exception(lost("closed here"))

    def _take_queue(self) -> list[Asked]:
        queue, self._queue = self._queue, {}
        return [asked for asked in queue if not asked.told.done()]

    def _fell_short(self, error: OSError, began: float) -> None:
        self._pause(error, began)
        for asked in self._take_queue():
            asked.told.set_exception(_twin(error))

    def _pause(self, error: OSError, since: float) -> None:
        """Once may be bad luck; from the second time on the next try has to wait a little.

        From `since` on: who has waited in vain for two seconds has waited enough.
        """
        self._fault = error
        self._failures = min(self._failures + 1, 16)
        if self._failures > 1:
            pause_s = min(_PAUSE_S * 2.0 ** (self._failures - 2), _PAUSE_MAX_S)
            self._closed_until = since + pause_s

    def lost(self, line: Line) -> None:
        """See Owner: the connection is of no use any more."""
        if self._line is line:
            self._line = None
            if not line.answers:
                self._pause(lost(line.why_lost), asyncio.get_running_loop().time())


def _twin(error: OSError) -> OSError:
    """The same for another one: an exception that is raised twice carries both ways along."""
    return type(error)(error.errno, error.strerror)


def _aged(response: Response, age_s: int) -> Response:
    """A cache has held the answer for that long already (RFC 8484 section 5.1)."""
    if not age_s:
        return response

    def older(records: tuple[Record, ...]) -> tuple[Record, ...]:
        return tuple((owner, rtype, max(ttl - age_s, 0), rdata) for owner, rtype, ttl, rdata in records)

    return response._replace(answer=older(response.answer), authority=older(response.authority))
