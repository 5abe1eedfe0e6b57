"""A client of the UDP listener on a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from ipaddress import ip_address

from dynallow.resolver.options import HopOptions
from dynallow.resolver.udp import UdpListener
from dynallow.units import Endpoint
from tests.unit.resolver.host import Host, on_host
from tests.unit.resolver.nameserver import Nameserver

LOOPBACK = ip_address("127.0.0.1")
WITHIN_S = 5.0
FLAGS = slice(2, 4)


class Client:
    """Sends packets to one listener, and takes what comes back."""

    def __init__(self, listener: UdpListener) -> None:
        self.listener = listener
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.connect(listener._sock.getsockname())

    async def replies(self, count: int) -> list[bytes]:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(WITHIN_S):
            return [await loop.sock_recv(self.sock, 65535) for _ in range(count)]

    async def ask(self, packet: bytes) -> bytes:
        self.sock.send(packet)
        (reply,) = await self.replies(1)
        return reply

    def has_more(self) -> bool:
        try:
            self.sock.recv(65535)
        except BlockingIOError:
            return False
        return True


@asynccontextmanager
async def listening(host: Host) -> AsyncIterator[Client]:
    """A client of a listener in front of `host`'s road."""
    listener = UdpListener(Endpoint(LOOPBACK, 0), host.road, HopOptions(), host.attendant)
    await listener.start()
    client = Client(listener)
    try:
        yield client
    finally:
        client.sock.close()
        listener.close()


def with_listener(work: Callable[[Host, Client, Nameserver], Coroutine[None, None, None]]) -> None:
    async def run(host: Host, server: Nameserver) -> None:
        async with listening(host) as client:
            await work(host, client, server)

    on_host(run)
