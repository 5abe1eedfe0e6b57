"""Connections of the control API, each bounded in time and all in number.

Knows aiohttp's protocol class, which has no limit on how long a request's head
may take. Must not know the routes. Keeps: a connection carries one request;
its head, its body and its reply have a deadline each, and at most `clients`
are open at once, so that a slow or greedy client costs the others nothing
(invariant 10).

    accept ──head──▶ request ──body──▶ backend (no deadline) ──▶ reply ──▶ closed
           └ read_s ┘        └ read_s ┘                      └ write_s ┘
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

log = logging.getLogger(__name__)

Dispatch = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
ErrorReply = Callable[[int, str], web.Response]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may take; `head` in bytes a line, `body` in bytes."""

    clients: int = 32
    read_s: float = 5.0
    write_s: float = 30.0
    head: int = 4096
    body: int = 64 * 1024


class Connection(web.RequestHandler):
    """aiohttp's connection with deadlines, and errors in the API's shape."""

    __slots__ = ("_deadline", "_limits", "_refused", "_reply")

    def __init__(
        self, server: web.Server, loop: asyncio.AbstractEventLoop, limits: Limits, reply: ErrorReply
    ) -> None:
        # No decompression: 64 KiB must stay 64 KiB. No access log: one line a
        # scrape says nothing.
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]
            auto_decompress=False,
            max_line_size=limits.head,
            max_field_size=limits.head,
            lingering_time=0.0,
        )
        self._limits = limits
        self._reply = reply
        self._refused = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        server = self._manager
        if server is None or len(server.connections) >= self._limits.clients:
            self._refused = True
            _abort(transport)
            return
        super().connection_made(transport)
        self.expect_within(self._limits.read_s)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.expect_within(None)
        if not self._refused:
            super().connection_lost(exc)

    def expect_within(self, seconds: float | None) -> None:
        """Cut the connection unless this is called again within `seconds`; None: no deadline."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None and self.transport is not None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(seconds, _abort, self.transport)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Bytes that are not HTTP (400), or a fault of ours (500, with its traceback in the log)."""
        if request.writer.output_size > 0:
            raise ConnectionResetError("the reply had begun; it is cut rather than ended wrongly")
        self.expect_within(self._limits.write_s)
        if status >= 500:
            log.error("control request failed: %s %s", request.method, request.path, exc_info=exc)
            return self._reply(status, "the agent failed on this request; its log says where")
        log.debug("control request is not HTTP: %r", message)
        return self._reply(status, "expected a request in HTTP/1.1")


def _abort(transport: asyncio.BaseTransport) -> None:
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()
    else:
        transport.close()


class Connections(web.Server):
    """The factory of connections, and the list of those that are open."""

    def __init__(self, dispatch: Dispatch, limits: Limits, reply: ErrorReply) -> None:
        super().__init__(dispatch)
        self._limits = limits
        self._reply = reply

    def __call__(self) -> Connection:
        return Connection(self, asyncio.get_running_loop(), self._limits, self._reply)
