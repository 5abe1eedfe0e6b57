"""One question to one server: plain UDP, and TCP where UDP does not do.

Knows what makes a try move to TCP; must not know policy, leases or which server
is next. What counts as the answer to a datagram is `datagrams.py`'s.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from dynallow.errors import WireError
from dynallow.resolver.attendant import Attendant
from dynallow.resolver.upstream.datagrams import Datagrams, Target, Waiting
from dynallow.resolver.upstream.guard import Guard
from dynallow.tasks import Tasks
from dynallow.units import Endpoint
from dynallow.wire import numbers as n
from dynallow.wire.query import with_how
from dynallow.wire.response import Response, parse_in_slices

if TYPE_CHECKING:
    from dynallow.resolver.upstream.streams import Stream
    from dynallow.settings import Upstream

_ABOUT_COOKIES = frozenset({n.FORMERR, n.BADCOOKIE})


class Exchange:
    """Asks servers; all its sockets carry `mark` (None where the agent may not set one)."""

    def __init__(self, mark: int | None, attendant: Attendant | None = None) -> None:
        self.mark = mark
        self._datagrams = Datagrams(mark, attendant)
        self.counts = self._datagrams.counts
        self.draw = self._datagrams.draw
        self.tasks = Tasks()
        self.streams: WeakValueDictionary[Upstream, Stream] = WeakValueDictionary()
        """Servers that are asked over a connection which is kept, those of former settings while it lasts."""
        self._guards: WeakValueDictionary[Endpoint, Guard] = WeakValueDictionary()

    def close(self) -> None:
        """Ask no more."""
        self._datagrams.close()
        for stream in list(self.streams.values()):
            stream.close()

    def guard(self, endpoint: Endpoint) -> Guard:
        """What that server's datagrams must bear; a reload forgets nothing of it."""
        guard = self._guards.get(endpoint)
        if guard is None:
            guard = self._guards[endpoint] = Guard(str(endpoint))
        return guard

    async def ask(
        self, server: Target, name: bytes, qtype: int, deadline: float, if_heard: float = 0.0, how: int = 0
    ) -> Response:
        """The server's validated response, before the loop's time is `deadline`.

        Or `if_heard`, when that is later and something has come back: TCP takes longer.
        `how`: see `build_query`.
        Raises OSError or TimeoutError (silence), WireError (TCP spoke nonsense).
        """
        waiting = self._datagrams.ask(server, name, qtype, deadline, how)
        again = in_lower_case = False
        try:
            while True:
                response = await waiting.told
                if response is not None and response.rcode not in _ABOUT_COOKIES:
                    if in_lower_case:
                        server.guard.struck(deadline)
                    return response
                deadline = waiting.deadline = max(deadline, if_heard)
                if response is not None:
                    if not again and server.guard.may_ask_again(response.rcode, waiting.cookie):
                        again, waiting = True, self._again(waiting)
                        continue
                    if response.rcode == n.FORMERR:
                        server.guard.silent(waiting.cookie, deadline)
                        return response
                # Half of what is left: whoever made us go there must not have ended the wait with it.
                now = asyncio.get_running_loop().time()
                with suppress(OSError, WireError):
                    return await self._ask_tcp(waiting, (now + deadline) / 2)
                if response is not None:
                    return response
                if waiting.miscased and not again and not self._datagrams.has_more(waiting):
                    again = in_lower_case = True
                    waiting = self._again(waiting, mix=False)
                    waiting.sent_to_tcp = True  # it has shown that it has none
                else:
                    self._datagrams.wait_on(waiting)
        except TimeoutError:
            if waiting.cookieless and server.guard.expects:
                server.guard.lacked(deadline)
            else:
                server.guard.silent(waiting.cookie, deadline)
            raise
        finally:
            self._datagrams.done(waiting)

    def _again(self, waiting: Waiting, mix: bool = True) -> Waiting:
        """The same question once more, with another id and from another port."""
        other = self._datagrams.ask(
            waiting.to, waiting.name, waiting.qtype, waiting.deadline, waiting.how, mix
        )
        self._datagrams.done(waiting)
        return other

    async def _ask_tcp(self, waiting: Waiting, deadline: float) -> Response:
        """The same over TCP (RFC 7766), on a connection of its own.

        What it shows of the server decides whether its datagrams are checked as before.
        """
        self.counts.tcp += 1
        loop = asyncio.get_running_loop()
        server, section, sent = waiting.to, waiting.section, waiting.to.guard.cookie
        ident = self._datagrams.draw()
        opt = with_how(server.guard.opt, waiting.how)
        query = struct.pack(">H", ident) + waiting.query[2 : n.HEADER_SIZE] + section + opt
        await asyncio.sleep(0)  # a timeout needs a task, and what waited for a promise has none yet
        async with asyncio.timeout_at(deadline):
            with self._stream(server) as sock:
                await loop.sock_connect(sock, server.sockaddr)
                await loop.sock_sendall(sock, struct.pack(">H", len(query)) + query)
                (length,) = struct.unpack(">H", await _read_exactly(sock, 2))
                packet = await _read_exactly(sock, length)
        echo = packet[n.HEADER_SIZE : n.HEADER_SIZE + len(section)]
        if echo[:-4].lower() != waiting.name:
            echo = section
        for response in parse_in_slices(
            packet, id=ident, name=waiting.name, qtype=waiting.qtype, section=echo[:-4] + section[-4:]
        ):
            if response is None:  # 64 KiB can be made to take 100 ms
                await asyncio.sleep(0)
            elif not response.truncated:
                self._learn(waiting, response, echo, sent)
                return response
        raise WireError("truncated over TCP")

    def _learn(self, waiting: Waiting, response: Response, echo: bytes, sent: bytes) -> None:
        """Nobody off the path speaks over TCP: what the server's datagrams lacked, does it lack here too?"""
        guard = waiting.to.guard
        if waiting.miscased and echo != waiting.section and guard.mixes:
            guard.changes_case(waiting.deadline)
        if response.cookie:
            guard.judge(response.cookie, sent, waiting.deadline)
        elif waiting.cookieless and sent and guard.expects and response.rcode in (n.NOERROR, n.NXDOMAIN):
            guard.gives_no_cookies(waiting.deadline)
        elif response.rcode == n.FORMERR:
            guard.silent(sent, waiting.deadline)

    def _stream(self, server: Target) -> socket.socket:
        sock = socket.socket(server.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        if self.mark is not None:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self.mark)
            except OSError:
                sock.close()
                raise
        return sock


async def _read_exactly(sock: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    parts = bytearray()
    while len(parts) < count:
        part = await loop.sock_recv(sock, count - len(parts))
        if not part:
            raise ConnectionResetError("the server closed the connection")
        parts += part
    return bytes(parts)
