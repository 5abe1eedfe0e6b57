"""The control API's server: HTTP over the unix socket, `/metrics` over TCP where wanted.

Knows the listeners and their life. Must not know what a request does
(`routes`). Keeps: the socket file is there exactly while the server listens,
and stopping takes well under a second, whatever the clients do.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from dynallow.control.backend import Backend
from dynallow.control.connection import Connections, Limits
from dynallow.control.routes import Routes, error_reply
from dynallow.control.socketfile import ControlSocket, bind
from dynallow.errors import DynallowError
from dynallow.units import Endpoint

_STOP_S = 0.3


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
        self._limits = limits or Limits()
        self._socket: ControlSocket | None = None
        self._listeners: list[asyncio.Server] = []
        self._connections: list[Connections] = []

    async def start(self) -> None:
        """Listen. Raises DynallowError when another agent does, or the system refuses."""
        loop = asyncio.get_running_loop()
        # Bound first: a second agent must stop here, before it has touched anything.
        self._socket = bind(self._path)
        try:
            control = self._serve(Routes(self._backend, self._limits))
            self._listeners.append(await loop.create_unix_server(control, sock=self._socket.sock))
            if self._metrics is not None:
                # A separate count of connections: scrapers, whom no file right
                # keeps away, must not use up the control socket's.
                scrape = self._serve(Routes(self._backend, self._limits, only="/metrics"))
                self._listeners.append(await _listen_tcp(scrape, self._metrics))
        except BaseException:
            await self.stop()
            raise

    def _serve(self, routes: Routes) -> Connections:
        connections = Connections(routes.dispatch, self._limits, error_reply)
        self._connections.append(connections)
        return connections

    async def stop(self) -> None:
        """Stop listening, give open requests a moment, remove the socket file if it is still ours."""
        for listener in self._listeners:
            listener.close()
        if self._socket is not None:
            self._socket.sock.close()
            self._socket.remove_file()
        for connections in self._connections:
            await connections.shutdown(_STOP_S)
        self._listeners.clear()
        self._connections.clear()
        self._socket = None


async def _listen_tcp(connections: Connections, endpoint: Endpoint) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(
            connections, str(endpoint.address), endpoint.port, reuse_address=True, backlog=16
        )
    except OSError as error:
        raise DynallowError(
            f"cannot listen for metrics on {endpoint}: {error.strerror or error}",
            hint="control.metrics in the settings names it; empty, metrics are on the control socket only",
        ) from error
