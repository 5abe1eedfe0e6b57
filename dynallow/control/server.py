"""The control API's server: HTTP over the unix socket, `/metrics` over TCP where wanted.

Knows the listeners and their life. Must not know what a request does
(`routes`). Keeps: the socket file is there exactly while the server listens,
and stopping takes well under a second, whatever the clients do.

Bound at once, served later: a second agent must stop before it has touched
anything, but aiohttp takes a quarter of a second to load, which questions need
not wait for. Who connects in between is answered when `serve` comes.
"""

from __future__ import annotations

import asyncio
import socket
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from dynallow.control.backend import Backend
from dynallow.control.socketfile import ControlSocket, bind
from dynallow.errors import DynallowError
from dynallow.units import Endpoint

if TYPE_CHECKING:
    from dynallow.control.connection import Connections, Limits

TcpSocket = socket.socket
_STOP_S = 0.3
_SCRAPERS_WAITING = 16


class ControlServer:
    """Serves `backend` at `socket`, and its metrics at `metrics` too when given."""

    def __init__(
        self,
        backend: Backend,
        socket: Path,
        metrics: Endpoint | None = None,
        *,
        limits: Limits | None = None,
    ) -> None:
        self._backend = backend
        self._path = socket
        self._metrics = metrics
        self._limits = limits
        self._socket: ControlSocket | None = None
        self._scrapes: TcpSocket | None = None
        self._listeners: list[asyncio.Server] = []
        self._connections: list[Connections] = []

    def bind(self) -> None:
        """Take the socket and the port. Raises DynallowError when another agent has them."""
        self._socket = bind(self._path)
        try:
            self._scrapes = None if self._metrics is None else _bind_tcp(self._metrics)
        except BaseException:
            self._unbind()
            raise

    async def serve(self) -> None:
        """Answer at what `bind` took."""
        await asyncio.to_thread(import_module, "dynallow.control.routes")
        loop = asyncio.get_running_loop()
        if self._socket is not None:
            control = self._accept()
            self._listeners.append(await loop.create_unix_server(control, sock=self._socket.sock))
        if self._scrapes is not None:
            # A separate count of connections: scrapers, whom no file right
            # keeps away, must not use up the control socket's.
            scrape = self._accept(only="/metrics")
            self._listeners.append(await loop.create_server(scrape, sock=self._scrapes))

    async def start(self) -> None:
        """`bind` and `serve`."""
        self.bind()
        try:
            await self.serve()
        except BaseException:
            await self.stop()
            raise

    def _accept(self, only: str | None = None) -> Connections:
        from dynallow.control.connection import Connections, Limits
        from dynallow.control.routes import Routes, error_reply

        limits = self._limits or Limits()
        routes = Routes(self._backend, limits, only)
        connections = Connections(routes.dispatch, limits, error_reply)
        self._connections.append(connections)
        return connections

    async def stop(self) -> None:
        """Stop listening, give open requests a moment, remove the socket file if it is still ours."""
        for listener in self._listeners:
            listener.close()
        self._unbind()
        for connections in self._connections:
            await connections.shutdown(_STOP_S)
        self._listeners.clear()
        self._connections.clear()

    def _unbind(self) -> None:
        if self._socket is not None:
            self._socket.sock.close()
            self._socket.remove_file()
        if self._scrapes is not None:
            self._scrapes.close()
        self._socket = self._scrapes = None


def _bind_tcp(endpoint: Endpoint) -> socket.socket:
    address = str(endpoint.address)
    family = socket.AF_INET6 if endpoint.address.version == 6 else socket.AF_INET
    try:
        return socket.create_server((address, endpoint.port), family=family, backlog=_SCRAPERS_WAITING)
    except OSError as error:
        raise DynallowError(
            f"cannot listen for metrics on {endpoint}: {error.strerror or error}",
            hint="control.metrics in the settings names it; empty, metrics are on the control socket only",
        ) from error
