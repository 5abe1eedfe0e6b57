"""Clients of the TCP listener on real sockets, and limits small enough to be met in a moment."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from ipaddress import ip_address

import dns.message
import dns.rcode

from dynallow.policy.policy import Policy
from dynallow.resolver.options import HopOptions
from dynallow.resolver.stream import TcpLimits
from dynallow.resolver.tcp import TcpClients, TcpListener
from dynallow.units import Endpoint
from tests.unit.resolver.host import Host, on_host, policy, question
from tests.unit.resolver.nameserver import Nameserver, answer
from tests.unit.resolver.responses import records

LOOPBACK = ip_address("127.0.0.1")
ALL = policy(web="*.example.org")
DENIED = "no.example.net"
WITHIN_S = 5.0
SOON_S = 0.15
PATIENT = TcpLimits()
HASTY = TcpLimits(first_byte_s=SOON_S, idle_s=SOON_S, message_s=SOON_S, write_s=SOON_S)


def everything(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
    """Each name has one address; "big" has 60."""
    name = query.question[0].name.to_text(omit_final_dot=True)
    count = 60 if name.lower().startswith("big") else 1
    data = " | ".join(f"192.0.2.{number + 1}" for number in range(count))
    return [answer(query, records(f"{name} 300 IN A {data}"))]


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def ask(self, *names: str) -> None:
        """In one write; the place in `names` is the question's id."""
        self.send(b"".join(frame(question(name, id=number)) for number, name in enumerate(names)))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def reply(self) -> dns.message.Message:
        async with asyncio.timeout(WITHIN_S):
            (length,) = struct.unpack(">H", await self.reader.readexactly(2))
            return dns.message.from_wire(await self.reader.readexactly(length))

    async def replies(self, count: int) -> list[int]:
        """The ids of the next ones."""
        return [(await self.reply()).id for _ in range(count)]

    async def end(self) -> None:
        """Wait until the other side has ended it; whatever comes before is thrown away."""
        async with asyncio.timeout(WITHIN_S):
            try:
                while await self.reader.read(1 << 16):
                    pass
            except ConnectionError:
                pass


def frame(packet: bytes) -> bytes:
    return struct.pack(">H", len(packet)) + packet


class Listening:
    """A listener in front of `host`'s road, and its clients."""

    def __init__(self, host: Host, limits: TcpLimits) -> None:
        self.host = host
        self.clients = TcpClients(host.road, HopOptions(), limits)
        self.listener = TcpListener(Endpoint(LOOPBACK, 0), self.clients)
        self.port = self.listener._sock.getsockname()[1]
        self.writers: list[asyncio.StreamWriter] = []

    async def client(self) -> Client:
        reader, writer = await asyncio.open_connection(str(LOOPBACK), self.port)
        self.writers.append(writer)
        return Client(reader, writer)

    @property
    def connections(self) -> int:
        return self.host.road.tcp_connections


@asynccontextmanager
async def listening(host: Host, limits: TcpLimits) -> AsyncIterator[Listening]:
    there = Listening(host, limits)
    await there.listener.start()
    try:
        yield there
    finally:
        for writer in there.writers:
            writer.transport.abort()
        there.listener.close()


def with_listener(
    work: Callable[[Host, Listening], Coroutine[None, None, None]],
    limits: TcpLimits = PATIENT,
    allowed: Policy = ALL,
) -> None:
    async def run(host: Host, server: Nameserver) -> None:
        async with listening(host, limits) as there:
            await work(host, there)
        assert host.tasks.failed == 0
        assert host.road.tcp_connections == 0
        assert there.clients.road.tcp_held == 0

    on_host(run, everything, allowed)


def held(host: Host) -> asyncio.Event:
    """Fresh answers wait from now on, until it is set."""
    host.gate.open = asyncio.Event()
    return host.gate.open
