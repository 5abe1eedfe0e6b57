"""Questions on their way over UDP, each on a socket of its own, all read in one place.

The fresh answer's hot path: asyncio's `sock_recv` under a timeout costs three
times as much as all of this. The sockets stand in an epoll set of our own, which
the attendant, or the loop, watches as one; one timer serves all deadlines.

Knows sockets and `wire`; must not know which server is next, nor TCP. A response
counts only if it comes from the asked address and port (the socket is connected),
with our id, our question byte for byte, its letters' random case included, and the
server's cookie (`guard.py`). Everything else is dropped and counted and the waiting
goes on: a forger must not be able to end it.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import select
import socket
from array import array
from dataclasses import dataclass
from typing import NamedTuple

from dynallow.errors import WireError
from dynallow.resolver.attendant import Attendant
from dynallow.resolver.upstream.guard import CLIENT_COOKIE, Guard
from dynallow.tasks import Promise
from dynallow.units import Endpoint
from dynallow.wire import numbers as n
from dynallow.wire.query import build_mixed, cookie_in
from dynallow.wire.response import MismatchError, Response, parse_response

_RECEIVE = n.UDP_SAFE + 1  # what the question says fits, and one to see what does not
_BIND_TRIES = 8
_FIRST_PORT = 1024
_EVENTS = 64
_DRAWN = 1024  # random numbers taken from the kernel at a time: one call for hundreds of questions
_NOISE, _NAME_MAX = 8192, 255  # and so many bytes for the case of letters, one for each of a name's
_TICK_S = 0.02
_KIND = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC


class Target(NamedTuple):
    """A server as the socket calls want it."""

    family: socket.AddressFamily
    sockaddr: tuple[str, int]
    anywhere: str
    """The unspecified address of its family, to bind to."""
    guard: Guard
    """What its datagrams must bear."""


def target(endpoint: Endpoint, guard: Guard | None = None) -> Target:
    """The target that an endpoint is."""
    version_6 = endpoint.address.version == 6
    family = socket.AF_INET6 if version_6 else socket.AF_INET
    anywhere = "::" if version_6 else "0.0.0.0"  # noqa: S104
    return Target(family, (str(endpoint.address), endpoint.port), anywhere, guard or Guard(str(endpoint)))


@dataclass(slots=True)
class ExchangeCounts:
    """What came in that was not the answer, and how often TCP was needed."""

    mismatched: int = 0
    miscased: int = 0
    """Right in everything but the case of the question."""
    cookieless: int = 0
    """Right, but without the cookie that its server gives."""
    malformed: int = 0
    tcp: int = 0


@dataclass(slots=True, eq=False)
class Waiting:
    """One question and the socket that its answer comes to."""

    sock: socket.SocketType
    to: Target
    ident: int
    name: bytes
    qtype: int
    query: bytes
    """What was sent."""
    mixed: bool
    """Whether in mixed case."""
    deadline: float
    told: Promise[Response | None]
    """The answer; None when the question should be asked over TCP. TimeoutError at the deadline."""
    how: int = 0
    """Which of DO and CD are set."""
    sent_to_tcp: bool = False
    """Once is enough: a forger must not be able to start it again and again."""
    miscased: bool = False
    """Whether an answer was dropped because of its case alone."""
    cookieless: bool = False
    """Whether one was dropped because it had no cookie."""

    @property
    def section(self) -> bytes:
        """The question section as it was sent."""
        return self.query[n.HEADER_SIZE : n.HEADER_SIZE + len(self.name) + 4]

    @property
    def cookie(self) -> bytes:
        """The client cookie that was sent; empty without."""
        return cookie_in(self.query, self.name, CLIENT_COOKIE)


class Datagrams:
    """All questions that wait for a datagram; their sockets carry `mark` (None: not allowed to).

    The attendant, if there is one, reads them before the loop does anything else, and is called after each
    datagram: a row of them must not hold up others for long.
    """

    def __init__(self, mark: int | None, attendant: Attendant | None = None) -> None:
        self.mark = mark
        self._attendant = attendant
        self.counts = ExchangeCounts()
        self._waiting: dict[int, Waiting] = {}
        self._numbers: list[int] = []
        self._noise = b""
        self._noise_left = 0
        self._poll: select.epoll | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf  # when the timer goes off

    def close(self) -> None:
        """Let go of the loop; who still waits is told of it by his own end."""
        if self._poll is not None:
            if self._attendant is not None:
                self._attendant.dismiss(self._poll)
            else:
                asyncio.get_running_loop().remove_reader(self._poll)
            self._poll.close()
            self._poll = None
        if self._timer is not None:
            self._timer.cancel()

    def ask(
        self, to: Target, name: bytes, qtype: int, deadline: float, how: int = 0, mix: bool = True
    ) -> Waiting:
        """Send the question; `told` of what is returned will tell. `how`: see `build_query`. Raises OSError.

        `mix=False`: in lower case, whatever the server keeps. Whoever asked calls `done`
        with it in the end, whatever happened.
        """
        guard = to.guard
        if deadline >= guard.due:  # the deadline is near enough to the time, and at hand
            guard.renew(deadline)
        noise = b""
        if mix and guard.mixes:
            end = self._noise_left
            if end < _NAME_MAX:
                self._noise, end = os.urandom(_NOISE), _NOISE
            self._noise_left = begin = end - len(name)
            noise = self._noise[begin:end]
        ident = self.draw()
        query = build_mixed(ident, name, qtype, guard.opt, noise, how)
        sock = self._connected(to)
        try:
            sock.send(query)
            waiting = Waiting(sock, to, ident, name, qtype, query, noise != b"", deadline, Promise(), how)
            self._watch(waiting)
        except OSError:
            sock.close()
            raise
        return waiting

    def wait_on(self, waiting: Waiting) -> None:
        """TCP did not help: the right datagram may still come."""
        waiting.told = Promise()
        self._watch(waiting)

    def has_more(self, waiting: Waiting) -> bool:
        """Whether more has come since it was told last; nobody who speaks alone sends twice."""
        try:
            return bool(waiting.sock.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

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
        family, sockaddr, anywhere, _guard = to
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
            if self._attendant is not None:
                self._attendant.serve(self._poll, self._read, between=False)
            else:
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
            if self._attendant is not None:
                self._attendant.attend()

    def _heed(self, number: int, waiting: Waiting, packet: bytes) -> None:
        """Tell of the answer; drop and count what is none.

        After the first mismatch somebody is guessing, so the try moves to TCP,
        where he would have to guess the sequence numbers as well. So does an
        answer that is cut, or longer than the question allowed: over TCP it is
        read in slices. The datagrams are heard again after it.
        """
        response = None
        name, qtype = waiting.name, waiting.qtype
        section = waiting.query[n.HEADER_SIZE : n.HEADER_SIZE + len(name) + 4]
        try:
            response = parse_response(packet, id=waiting.ident, name=name, qtype=qtype, section=section)
        except MismatchError:
            response = self._in_another_case(packet, waiting)
        except WireError:
            self.counts.malformed += 1
            if len(packet) != _RECEIVE and not _is_truncated(packet):
                return
            # Ours, and cut in the middle of a record: by the server (some do so), or by us.
        if (
            response is not None
            and (not (response.cookie or waiting.to.guard.watches) or self._is_believed(waiting, response))
            and not response.flags & n.TC
        ):
            del self._waiting[number]
            if not waiting.told.done():  # else he was cancelled
                waiting.told.set_result(response)
            return
        if not waiting.sent_to_tcp:
            waiting.sent_to_tcp = True
            self._tell(number, waiting, None)

    def _in_another_case(self, packet: bytes, waiting: Waiting) -> Response | None:
        """The response in a packet that may differ from ours in the question's case alone.

        None, and counted, when it differs in more, or when case is a check of this server's answers.
        """
        section = waiting.section
        echo = packet[n.HEADER_SIZE : n.HEADER_SIZE + len(section)]
        if echo[:-4].lower() == waiting.name and echo[-4:] == section[-4:]:
            try:
                response = parse_response(
                    packet, id=waiting.ident, name=waiting.name, qtype=waiting.qtype, section=echo
                )
            except MismatchError:
                pass  # the id
            except WireError:
                self.counts.malformed += 1
                return None
            else:
                if not waiting.to.guard.mixes and not waiting.mixed:
                    return response
                waiting.miscased = True
                self.counts.miscased += 1
                return None
        self.counts.mismatched += 1
        return None

    def _is_believed(self, waiting: Waiting, response: Response) -> bool:
        """Whether it bears what this server's answers do (`guard.py`)."""
        guard = waiting.to.guard
        if not guard.judge(response.cookie, waiting.cookie, waiting.deadline):
            if response.cookie:
                self.counts.mismatched += 1
            else:
                waiting.cookieless = True
                self.counts.cookieless += 1
            return False
        if not guard.settled or guard.silent_since != math.inf:
            guard.settle(waiting.cookie, response.rcode, waiting.deadline)
        if waiting.mixed and not response.questionless:
            guard.kept_case()
        return True

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
