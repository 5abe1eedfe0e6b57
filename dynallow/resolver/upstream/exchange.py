"""One question to one server: plain UDP, and TCP where UDP does not do.

Knows what makes a try move to TCP; must not know policy, leases or which server
is next. What counts as the answer to a datagram is `datagrams.py`'s.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from dynallow.errors import WireError
from dynallow.resolver.upstream.datagrams import Datagrams, Target
from dynallow.tasks import Tasks
from dynallow.wire.query import build_query
from dynallow.wire.response import Response, parse_in_slices

if TYPE_CHECKING:
    from dynallow.resolver.upstream.streams import Stream
    from dynallow.settings import Upstream


class Exchange:
    """Asks servers; all its sockets carry `mark` (None where the agent may not set one)."""

    def __init__(self, mark: int | None, between: Callable[[], None] = lambda: None) -> None:
        self.mark = mark
        self._datagrams = Datagrams(mark, between)
        self.counts = self._datagrams.counts
        self.draw = self._datagrams.draw
        self.tasks = Tasks()
        self.streams: WeakValueDictionary[Upstream, Stream] = WeakValueDictionary()
        """Servers that are asked over a connection which is kept, those of former settings while it lasts."""

    def close(self) -> None:
        """Ask no more."""
        self._datagrams.close()
        for stream in list(self.streams.values()):
            stream.close()

    async def ask(
        self, server: Target, name: bytes, qtype: int, deadline: float, if_heard: float = 0.0, how: int = 0
    ) -> Response:
        """The server's validated response, before the loop's time is `deadline`.

        Or `if_heard`, when that is later and something has come back: TCP takes longer.
        `how`: see `build_query`.
        Raises OSError or TimeoutError (silence), WireError (TCP spoke nonsense).
        """
        waiting = self._datagrams.ask(server, name, qtype, deadline, how)
        try:
            while (response := await waiting.told) is None:
                # Half of what is left: whoever made us go there must not have ended the wait with it.
                now = asyncio.get_running_loop().time()
                deadline = waiting.deadline = max(deadline, if_heard)
                with suppress(OSError, WireError):
                    return await self._ask_tcp(server, name, qtype, (now + deadline) / 2, how)
                self._datagrams.wait_on(waiting)
            return response
        finally:
            self._datagrams.done(waiting)

    async def _ask_tcp(self, server: Target, name: bytes, qtype: int, deadline: float, how: int) -> Response:
        """The same over TCP (RFC 7766), on a connection of its own."""
        self.counts.tcp += 1
        loop = asyncio.get_running_loop()
        ident = self._datagrams.draw()
        query = build_query(ident, name, qtype, how)
        await asyncio.sleep(0)  # a timeout needs a task, and what waited for a promise has none yet
        async with asyncio.timeout_at(deadline):
            with self._stream(server) as sock:
                await loop.sock_connect(sock, server.sockaddr)
                await loop.sock_sendall(sock, struct.pack(">H", len(query)) + query)
                (length,) = struct.unpack(">H", await _read_exactly(sock, 2))
                packet = await _read_exactly(sock, length)
        for response in parse_in_slices(packet, id=ident, name=name, qtype=qtype):
            if response is None:  # 64 KiB can be made to take 100 ms
                await asyncio.sleep(0)
            elif not response.truncated:
                return response
        raise WireError("truncated over TCP")

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
