"""Questions on their way over UDP, each on a socket of its own, all read in one place.

The fresh answer's hot path: asyncio's `sock_recv` under a timeout costs three
times as much as all of this. The sockets stand in an epoll set of our own, which
the loop watches as one reader; one timer serves all deadlines.

Knows sockets and `wire`; must not know which server is next, nor TCP. A response
counts only if it comes from the asked address and port (the socket is connected),
with our id and our question byte for byte. Everything else is dropped and counted
and the waiting goes on: a forger must not be able to end it.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import select
import socket
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from dynallow.errors import WireError
from dynallow.tasks import Promise
from dynallow.units import Endpoint
from dynallow.wire import numbers as n
from dynallow.wire.query import build_query
from dynallow.wire.response import MismatchError, Response, parse_response

_RECEIVE = n.UDP_SAFE + 1  # what the question says fits, and one to see what does not
_BIND_TRIES = 8
_FIRST_PORT = 1024
_EVENTS = 64
_DRAWN = 1024  # random numbers taken from the kernel at a time: one call for hundreds of questions
_TICK_S = 0.02
_KIND = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC


class Target(NamedTuple):
    """A server as the socket calls want it."""

    family: socket.AddressFamily
    sockaddr: tuple[str, int]
    anywhere: str
    """The unspecified address of its family, to bind to."""


def target(endpoint: Endpoint) -> Target:
    """The target that an endpoint is."""
    version_6 = endpoint.address.version == 6
    family = socket.AF_INET6 if version_6 else socket.AF_INET
    return Target(family, (str(endpoint.address), endpoint.port), "::" if version_6 else "0.0.0.0")  # noqa: S104


@dataclass(slots=True)
class ExchangeCounts:
    """What came in that was not the answer, and how often TCP was needed."""

    mismatched: int = 0
    malformed: int = 0
    tcp: int = 0


@dataclass(slots=True, eq=False)
class Waiting:
    """One question and the socket that its answer comes to."""

    sock: socket.SocketType
    ident: int
    name: bytes
    qtype: int
    deadline: float
    told: Promise[Response | None]
    """The answer; None when the question should be asked over TCP. TimeoutError at the deadline."""
    sent_to_tcp: bool = False
    """Once is enough: a forger must not be able to start it again and again."""


class Datagrams:
    """All questions that wait for a datagram; their sockets carry `mark` (None: not allowed to).

    `between` is called after each datagram: a row of them must not hold up others for long.
    """

    def __init__(self, mark: int | None, between: Callable[[], None] = lambda: None) -> None:
        self.mark = mark
        self._between = between
        self.counts = ExchangeCounts()
        self._waiting: dict[int, Waiting] = {}
        self._numbers: list[int] = []
        self._poll: select.epoll | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf  # when the timer goes off

    def close(self) -> None:
        """Let go of the loop; who still waits is told of it by his own end."""
        if self._poll is not None:
            asyncio.get_running_loop().remove_reader(self._poll)
            self._poll.close()
            self._poll = None
        if self._timer is not None:
            self._timer.cancel()

    def ask(self, to: Target, name: bytes, qtype: int, deadline: float, how: int = 0) -> Waiting:
        """Send the question; `told` of what is returned will tell. `how`: see `build_query`. Raises OSError.

        Whoever asked calls `done` with it in the end, whatever happened.
        """
        ident = self.draw()
        sock = self._connected(to)
        try:
            sock.send(build_query(ident, name, qtype, how))
            waiting = Waiting(sock, ident, name, qtype, deadline, Promise())
            self._watch(waiting)
        except OSError:
            sock.close()
            raise
        return waiting

    def wait_on(self, waiting: Waiting) -> None:
        """TCP did not help: the right datagram may still come."""
        waiting.told = Promise()
        self._watch(waiting)

    def done(self, waiting: Waiting) -> None:
        """No answer is wanted any more."""
        self._waiting.pop(waiting.sock.fileno(), None)
        waiting.sock.close()  # and is out of the epoll set with that

    def draw(self) -> int:
        """16 bits that nobody can foresee."""
        if not self._numbers:
            self._numbers = array("H", os.urandom(2 * _DRAWN)).tolist()
        return self._numbers.pop()

    def _connected(self, to: Target) -> socket.SocketType:
        """A fresh connected socket at a port nobody can foresee (RFC 5452 section 9.2)."""
        family, sockaddr, anywhere = to
        sock = socket.SocketType(family, _KIND)
        try:
            if self.mark is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self.mark)
            for _ in range(_BIND_TRIES):
                while (port := self.draw()) < _FIRST_PORT:
                    pass
                try:
                    sock.bind((anywhere, port))
                    break
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:
                        raise
            sock.connect(sockaddr)
        except OSError:
            sock.close()
            raise
        return sock

    # ------------------------------------------------------------ reading

    def _watch(self, waiting: Waiting) -> None:
        if self._poll is None:
            self._poll = select.epoll()
            asyncio.get_running_loop().add_reader(self._poll, self._read)
        number = waiting.sock.fileno()
        self._poll.register(number, select.EPOLLIN)
        self._waiting[number] = waiting
        if waiting.deadline < self._due:
            self._set_timer(waiting.deadline)

    def _read(self) -> None:
        """Take one datagram from every socket that has some; the others' turn comes at once."""
        if self._poll is None:
            return
        for number, _ in self._poll.poll(0, _EVENTS):
            waiting = self._waiting.get(number)
            if waiting is None:
                continue
            try:
                packet = waiting.sock.recv(_RECEIVE)
            except BlockingIOError:  # a datagram with a wrong checksum: there is nothing to read
                continue
            except OSError as error:  # an ICMP error: nobody listens there
                self._tell(number, waiting, error)
                continue
            self._heed(number, waiting, packet)
            self._between()

    def _heed(self, number: int, waiting: Waiting, packet: bytes) -> None:
        """Tell of the answer; drop and count what is none.

        After the first mismatch somebody is guessing, so the try moves to TCP,
        where he would have to guess the sequence numbers as well. So does an
        answer that is cut, or longer than the question allowed: over TCP it is
        read in slices. The datagrams are heard again after it.
        """
        try:
            response = parse_response(packet, id=waiting.ident, name=waiting.name, qtype=waiting.qtype)
            if not response.truncated:
                del self._waiting[number]
                if not waiting.told.done():  # else he was cancelled
                    waiting.told.set_result(response)
                return
        except MismatchError:
            self.counts.mismatched += 1
        except WireError:
            self.counts.malformed += 1
            if len(packet) != _RECEIVE and not _is_truncated(packet):
                return
            # Ours, and cut in the middle of a record: by the server (some do so), or by us.
        if not waiting.sent_to_tcp:
            waiting.sent_to_tcp = True
            self._tell(number, waiting, None)

    def _tell(self, number: int, waiting: Waiting, what: OSError | None) -> None:
        """Wake who waits without an answer; what comes later stays in the socket until he waits again."""
        del self._waiting[number]
        if what is None and self._poll is not None:
            self._poll.unregister(number)  # it is still needed; any other is closed in a moment
        if waiting.told.done():
            return
        if what is None:
            waiting.told.set_result(None)
        else:
            waiting.told.set_exception(what)

    # ------------------------------------------------------------ time

    def _set_timer(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(deadline, self._expire)
        self._due = deadline

    def _expire(self) -> None:
        """Tell those whose time is over; the timer goes on only while somebody waits."""
        self._timer, self._due = None, math.inf
        now = asyncio.get_running_loop().time()
        for number, waiting in list(self._waiting.items()):
            if waiting.deadline <= now:
                self._tell(number, waiting, TimeoutError())
        if self._waiting:
            # Not for each deadline by itself: thousands that lie close together are looked through at once.
            next_one = min(waiting.deadline for waiting in self._waiting.values())
            self._set_timer(max(next_one, now + _TICK_S))


def _is_truncated(packet: bytes) -> bool:
    return len(packet) > 2 and bool(packet[2] & 0x02)  # TC (RFC 1035 section 4.1.1)
