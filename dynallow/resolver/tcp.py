"""TCP listener (RFC 7766): length-prefixed questions, answered in the order they came.

Invariant 10: connections, the time each may idle and what may wait to be
written are bounded, so that a thousand slow clients cost the others nothing.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct

from dynallow.resolver.road import Road
from dynallow.units import Endpoint

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 1024
_FIRST_BYTE_S = 3.0
_IDLE_S = 10.0
_MESSAGE_S = 10.0
_WRITE_S = 10.0
_BACKLOG = 512
# The reader's limit: one question and what a pipelining client sent behind it.
_READ_LIMIT = 16384
_WRITE_LIMIT = 1 << 17


class TcpListener:
    """One listening address."""

    def __init__(self, endpoint: Endpoint, road: Road) -> None:
        self.endpoint = endpoint
        self._road = road
        self._sock = open_tcp(endpoint)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to answer."""
        self._server = await asyncio.start_server(
            self._serve, sock=self._sock, limit=_READ_LIMIT, backlog=_BACKLOG
        )

    def close(self) -> None:
        """Stop, and free the port; open connections end with the agent's tasks."""
        if self._server is not None:
            self._server.close()
        self._sock.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._road.tcp_connections >= MAX_CONNECTIONS:
            self._road.counts.tcp_refused += 1
            writer.transport.abort()
            return
        self._road.tcp_connections += 1
        writer.transport.set_write_buffer_limits(high=_WRITE_LIMIT)
        try:
            await self._converse(reader, writer)
            writer.close()
            async with asyncio.timeout(_WRITE_S):
                await writer.wait_closed()
        except (TimeoutError, asyncio.IncompleteReadError, OSError):
            pass  # idle, slow, gone: nothing to tell anybody
        finally:
            self._road.tcp_connections -= 1
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        patience = _FIRST_BYTE_S
        while True:
            async with asyncio.timeout(patience):
                first = await reader.read(1)
            if not first:
                return
            async with asyncio.timeout(_MESSAGE_S):
                (length,) = struct.unpack(">H", first + await reader.readexactly(1))
                packet = await reader.readexactly(length)
            reply = await self._road.walk(packet, udp=False)
            if reply is None:
                return  # not a question: nothing more to say on this connection
            writer.write(struct.pack(">H", len(reply)) + reply)
            async with asyncio.timeout(_WRITE_S):
                await writer.drain()
            patience = _IDLE_S


def open_tcp(endpoint: Endpoint) -> socket.socket:
    """A bound, listening TCP socket. Raises OSError."""
    version_6 = endpoint.address.version == 6
    sock = socket.socket(
        socket.AF_INET6 if version_6 else socket.AF_INET,
        socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
    )
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if version_6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((str(endpoint.address), endpoint.port))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
