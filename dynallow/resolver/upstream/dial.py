"""How a connection to a stream upstream is made: the marked socket, and TLS where the settings say so.

Knows sockets and certificates; must not know questions. Keeps: the address is the
setting's own, nothing is looked up; over TLS nothing is sent before chain and name
of the certificate are verified (`tls.py`).
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from dynallow.resolver.upstream.asked import turned_away
from dynallow.resolver.upstream.datagrams import target
from dynallow.resolver.upstream.line import Line, Owner
from dynallow.resolver.upstream.tls import Security, why_failed
from dynallow.units import Endpoint

_UNACKNOWLEDGED_MS = 4000  # what the other side's kernel does not confirm for this long is lost
_GOODBYE_S = 1.0


@dataclass(frozen=True, slots=True)
class Dial:
    """Opens connections to one server; `make` gives the line that is to be on it."""

    endpoint: Endpoint
    mark: int | None
    make: Callable[[Owner], Line]
    security: Security | None = None

    async def __call__(self, owner: Owner) -> Line:
        """An open connection. Raises OSError, TurnedAwayError where TLS came to nothing."""
        loop = asyncio.get_running_loop()
        line = self.make(owner)
        if self.security is None:
            await loop.create_connection(lambda: line, sock=await self._connected())
            return line
        context = await self.security.trust.context()
        sock = await self._connected()
        try:
            transport, _ = await loop.create_connection(
                lambda: line,
                sock=sock,
                ssl=context,
                server_hostname=self.security.name,
                ssl_shutdown_timeout=_GOODBYE_S,
            )
        except ssl.SSLError as error:
            raise turned_away(why_failed(error)) from error
        except ConnectionError as error:
            raise turned_away("TLS: the server closed the connection") from error
        chosen = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        if self.security.trust.alpn == "h2" and chosen != "h2":  # RFC 7858 asks for no ALPN, HTTP/2 does
            line.break_off("no HTTP/2")
            raise turned_away("TLS: the server does not speak HTTP/2")
        return line

    async def _connected(self) -> socket.socket:
        to = target(self.endpoint)
        sock = socket.socket(to.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            if self.mark is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self.mark)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
            await asyncio.get_running_loop().sock_connect(sock, to.sockaddr)
        except OSError as error:
            sock.close()
            if error.errno is None:
                raise
            raise OSError(error.errno, os.strerror(error.errno)) from error
        except BaseException:
            sock.close()
            raise
        return sock
