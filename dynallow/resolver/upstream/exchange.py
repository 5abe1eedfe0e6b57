"""One question to one server: plain UDP, and TCP where UDP does not do.

Knows sockets and `wire`; must not know policy, leases or which server is
next. A response counts only if it comes from the asked address and port (the
socket is connected), with our id and our question byte for byte. Everything
else is dropped and counted and the waiting goes on: a forger must not be able
to end it. After the first mismatch somebody is guessing, so the try moves to
TCP, where he would have to guess the sequence numbers as well.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
import struct
from dataclasses import dataclass

from dynallow.errors import WireError
from dynallow.units import Endpoint
from dynallow.wire.query import build_query
from dynallow.wire.response import MismatchError, Response, parse_response

_RECEIVE = 8192
_BIND_TRIES = 8
_FIRST_PORT, _PORTS = 1024, 65536 - 1024


@dataclass(slots=True)
class ExchangeCounts:
    """What came in that was not the answer."""

    mismatched: int = 0
    malformed: int = 0
    tcp: int = 0


class Exchange:
    """Asks servers; all its sockets carry `mark` (None where the agent may not set one)."""

    def __init__(self, mark: int | None) -> None:
        self.mark = mark
        self.counts = ExchangeCounts()

    async def ask(self, server: Endpoint, name: bytes, qtype: int, timeout_s: float) -> Response:
        """The server's validated response.

        Raises OSError or TimeoutError (silence), WireError (TCP spoke nonsense).
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        ident = secrets.randbits(16)
        with self._udp(server) as sock:
            sock.send(build_query(ident, name, qtype))
            suspicious = False
            while True:
                async with asyncio.timeout_at(deadline):
                    packet = await asyncio.get_running_loop().sock_recv(sock, _RECEIVE)
                try:
                    response = parse_response(packet, id=ident, name=name, qtype=qtype)
                    if not response.truncated:
                        return response
                except MismatchError:
                    self.counts.mismatched += 1
                    if suspicious:
                        continue
                    suspicious = True
                except WireError:
                    self.counts.malformed += 1
                    if not _is_truncated(packet):
                        continue
                    # Ours, and cut in the middle of a record: some servers truncate so.
                try:
                    return await self._ask_tcp(server, name, qtype, deadline)
                except (OSError, WireError):
                    if asyncio.get_running_loop().time() >= deadline:
                        raise
                    # no TCP there: the right answer may still come

    async def _ask_tcp(self, server: Endpoint, name: bytes, qtype: int, deadline: float) -> Response:
        """The same over TCP (RFC 7766), on a connection of its own."""
        self.counts.tcp += 1
        loop = asyncio.get_running_loop()
        ident = secrets.randbits(16)
        query = build_query(ident, name, qtype)
        async with asyncio.timeout_at(deadline):
            with self._socket(server, socket.SOCK_STREAM) as sock:
                await loop.sock_connect(sock, (str(server.address), server.port))
                await loop.sock_sendall(sock, struct.pack(">H", len(query)) + query)
                (length,) = struct.unpack(">H", await _read_exactly(sock, 2))
                packet = await _read_exactly(sock, length)
        response = parse_response(packet, id=ident, name=name, qtype=qtype)
        if response.truncated:
            raise WireError("truncated over TCP")
        return response

    def _udp(self, server: Endpoint) -> socket.socket:
        """A fresh connected socket at a port nobody can foresee (RFC 5452 section 9.2)."""
        sock = self._socket(server, socket.SOCK_DGRAM)
        try:
            anywhere = "::" if server.address.version == 6 else "0.0.0.0"  # noqa: S104
            for _ in range(_BIND_TRIES):
                try:
                    sock.bind((anywhere, _FIRST_PORT + secrets.randbelow(_PORTS)))
                    break
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:
                        raise
            sock.connect((str(server.address), server.port))
        except OSError:
            sock.close()
            raise
        return sock

    def _socket(self, server: Endpoint, kind: socket.SocketKind) -> socket.socket:
        family = socket.AF_INET6 if server.address.version == 6 else socket.AF_INET
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        if self.mark is not None:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self.mark)
            except OSError:
                sock.close()
                raise
        return sock


def _is_truncated(packet: bytes) -> bool:
    return len(packet) > 2 and bool(packet[2] & 0x02)  # TC (RFC 1035 section 4.1.1)


async def _read_exactly(sock: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    parts = bytearray()
    while len(parts) < count:
        part = await loop.sock_recv(sock, count - len(parts))
        if not part:
            raise ConnectionResetError("the server closed the connection")
        parts += part
    return bytes(parts)
