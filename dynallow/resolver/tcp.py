"""TCP listeners (RFC 7766), and who of their clients is served next and who has to go.

A crowd gets its turn one question a client, for a fraction of a millisecond
a turn of the loop, so that it costs the others little; who asks one question comes before who has
many standing; and while a crowd is read, accepted or cut, UDP is looked after in between (`attend`).
What one client does with its connection is `stream.py`'s.
Invariant 10: connections, and what waits for all of them, are bounded; a newcomer who finds no
place takes that of the client that has rested longest, so that a crowd which only sits there
keeps nobody out.
"""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict, deque
from collections.abc import Callable

from dynallow.resolver.loopback import keep_to_loopback
from dynallow.resolver.options import HopOptions
from dynallow.resolver.road import Road
from dynallow.resolver.stream import DEFAULT_LIMITS, Stream, TcpLimits
from dynallow.resolver.witness import NoWitness, Witness
from dynallow.units import Endpoint

_BACKLOG = 512
_ACCEPTS = 4
"""Connections accepted a turn: asyncio takes all that it was told the backlog is, some 100 µs each."""
# Per connection, in the kernel, which doubles them and else lets them grow to megabytes.
_SEND_BUFFER = 32 << 10
_RECEIVE_BUFFER = 32 << 10


class TcpClients:
    """The connections of all listeners."""

    def __init__(
        self,
        road: Road,
        options: HopOptions,
        limits: TcpLimits = DEFAULT_LIMITS,
        attend: Callable[[], None] = lambda: None,
        witness: Witness | None = None,
    ) -> None:
        self.road = road
        self.witness = witness or NoWitness()
        self.options = options
        self.attend = attend
        self._limits = limits
        self._open: set[Stream] = set()
        # Has nothing of ours to wait for, longest first.
        self._resting: OrderedDict[Stream, None] = OrderedDict()
        self._line: deque[Stream] = deque()
        self._behind: deque[Stream] = deque()
        """Whoever has had a turn and has more questions standing."""
        self._served_soon = False
        self._memory = bytearray(limits.read)  # read into by all: nothing waits while it is in use

    def stream(self) -> Stream:
        """The protocol of a connection that is about to be made."""
        return Stream(self, self._limits, self._memory)

    def busy(self, patient: bool) -> bool:
        """See `Stream.part`, of all of them."""
        return not all([stream.part(patient) for stream in [*self._open]])

    def close(self) -> None:
        """Cut all of them."""
        for stream in [*self._open]:
            stream.cut()

    # ------------------------------------------------------------ what a stream says of itself

    def came(self, stream: Stream) -> bool:
        """Whether there is a place for it."""
        if len(self._open) >= self._limits.connections:
            self.road.counts.tcp_refused += 1
            if not self._resting:
                return False
            next(iter(self._resting)).cut()
        self._open.add(stream)
        self.road.tcp_connections = len(self._open)
        return True

    def went(self, stream: Stream) -> None:
        """It is gone; a second time changes nothing."""
        self._open.discard(stream)
        self._resting.pop(stream, None)
        self.road.tcp_connections = len(self._open)

    def rests(self, stream: Stream, resting: bool) -> None:
        """Whether all it wants is to be kept."""
        if not resting:
            self._resting.pop(stream, None)
        elif stream in self._open:
            self._resting.setdefault(stream)

    def holds(self, more: int) -> bool:
        """So many bytes more (or fewer) wait, replies or halves of questions; False when that is too much."""
        self.road.tcp_held += more
        return self.road.tcp_held <= self._limits.held

    def line_up(self, stream: Stream, first: bool) -> None:
        """It has a question to be answered, and stands in neither line; `first`: its first for the moment."""
        (self._line if first else self._behind).append(stream)
        if not self._served_soon:
            self._serve_soon()

    def _serve_soon(self) -> None:
        self._served_soon = bool(self._line or self._behind)
        if self._served_soon:
            asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        """A turn: those in line as long as there is time, then those behind, one of them in any case."""
        clock = asyncio.get_running_loop().time
        line, behind = self._line, self._behind
        # What stands in the lines was read before this look, see `UdpListener`: none of it is answered
        # as if a change of the table that came before it had not been.
        self.road.alert()
        ends = clock() + self._limits.turn_s
        try:
            while line:
                self._answer(line.popleft())
                if clock() >= ends:
                    break
            while behind:
                self._answer(behind.popleft())
                if clock() >= ends:
                    break
        finally:
            self._serve_soon()

    def _answer(self, stream: Stream) -> None:
        stream.take(self.road.clock())  # each with its own: a TTL is told to the second, and others take time
        if stream.wants_turn():
            self._behind.append(stream)


class TcpListener:
    """One listening address."""

    def __init__(
        self, endpoint: Endpoint, clients: TcpClients, inherited: socket.socket | None = None
    ) -> None:
        """`inherited` is a socket that listens at `endpoint` already. Raises OSError."""
        self.endpoint = endpoint
        self._clients = clients
        self._sock = open_tcp(endpoint, inherited)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to answer."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._clients.stream, sock=self._sock, backlog=_ACCEPTS)

    def rest(self) -> None:
        """Take no more clients; those that are there are still answered.

        Not by closing the server: asyncio refuses those that it has just accepted then.
        """
        if self._server is not None:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())

    def busy(self, patient: bool) -> bool:
        """Whether a client still has an answer to come; each that has none is told that no more comes."""
        return self._clients.busy(patient)

    def close(self) -> None:
        """Stop, free the port and cut the clients."""
        if self._server is not None:
            self._server.close()
        self._sock.close()
        self._clients.close()


class _Listening(socket.socket):
    """A socket whose backlog stays what it is: asyncio sets it to as many as it shall accept in one go.

    Those who wait in the line of an inherited socket would be more than that, and others turned away.
    """

    def listen(self, backlog: int = _BACKLOG, /) -> None:
        """See socket; never fewer than ours."""
        super().listen(max(backlog, _BACKLOG))


def open_tcp(endpoint: Endpoint, inherited: socket.socket | None = None) -> socket.socket:
    """A bound, listening TCP socket: the inherited one, or one of its own. Raises OSError."""
    version_6 = endpoint.address.version == 6
    sock = (
        _Listening(fileno=inherited.detach())
        if inherited is not None
        else _Listening(
            socket.AF_INET6 if version_6 else socket.AF_INET,
            socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
        )
    )
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)  # connections inherit both
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        keep_to_loopback(sock, endpoint.address)
        if inherited is None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if version_6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((str(endpoint.address), endpoint.port))
        sock.listen()
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"{error.strerror}: {endpoint}") from error
    return sock
