"""A name server in the test's own loop, on an ephemeral port of 127.0.0.1, UDP and TCP alike.

Knows dnspython. What it answers is a function of the test's: bytes in, packets out.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from types import TracebackType

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from dynallow.units import Endpoint
from tests.unit.resolver.responses import records

Handler = Callable[[dns.message.Message, bool], Iterable[bytes]]
"""(question, whether over TCP) → the packets to send back; none is silence."""


def zone(*lines: str, rcode: str = "NOERROR") -> Handler:
    """Answers with the records whose owner and type were asked for; chains are the test's to spell out."""
    everything = records(*lines)

    def handle(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
        asked = query.question[0]
        found = [one for one in everything if (one.name, one.rdtype) == (asked.name, asked.rdtype)]
        return [answer(query, found, rcode=rcode)]

    return handle


def answer(
    query: dns.message.Message,
    answers: list[dns.rrset.RRset],
    *,
    rcode: str = "NOERROR",
    truncated: bool = False,
) -> bytes:
    """A response to `query`."""
    reply = dns.message.make_response(query, recursion_available=True)
    reply.set_rcode(dns.rcode.from_text(rcode))
    reply.answer = list(answers)
    if truncated:
        reply.flags |= dns.flags.TC
    return reply.to_wire(max_size=65535)


def in_other_case(packet: bytes) -> bytes:
    """A response to the same question with each of its letters in the other case."""
    end = packet.index(0, 12)
    return packet[:12] + packet[12:end].swapcase() + packet[end:]


def in_lower_case(packet: bytes) -> bytes:
    """A response to the same question in lower case."""
    end = packet.index(0, 12)
    return packet[:12] + packet[12:end].lower() + packet[end:]


def silent(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
    """Says nothing."""
    return []


class Nameserver:
    """`async with Nameserver(zone(…)) as server:`; `asked` is every question in order."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.asked: list[dns.message.Message] = []
        self.over_tcp = 0
        self.clients: set[int] = set()
        """The source ports of UDP questions."""
        self.release: asyncio.Event | None = None
        """When set, answers to UDP wait for it."""
        self.tcp_is_silent = False
        self._answers: set[asyncio.Task[None]] = set()
        self._came: list[tuple[dns.message.Message, tuple[str, int]]] = []

    async def __aenter__(self) -> Nameserver:
        loop = asyncio.get_running_loop()
        self._tcp = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._tcp.sockets[0].getsockname()[1]
        self._udp, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self), local_addr=("127.0.0.1", port)
        )
        self.endpoint = Endpoint(ip_address("127.0.0.1"), port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._udp.close()
        self._tcp.close()
        for task in self._answers:
            task.cancel()

    def datagram(self, data: bytes, client: tuple[str, int]) -> None:
        self.clients.add(client[1])
        query = dns.message.from_wire(data)
        self.asked.append(query)
        self._came.append((query, client))
        task = asyncio.ensure_future(self._answer(query, client))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, query: dns.message.Message, client: tuple[str, int]) -> None:
        if self.release is not None:
            await self.release.wait()
        for packet in self.handler(query, False):
            self._udp.sendto(packet, client)

    def send_to_all(self, packet: Callable[[dns.message.Message], bytes]) -> None:
        """One more datagram to everybody who has asked."""
        for query, client in self._came:
            self._udp.sendto(packet(query), client)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack(">H", await reader.readexactly(2))
        query = dns.message.from_wire(await reader.readexactly(length))
        self.asked.append(query)
        self.over_tcp += 1
        if self.tcp_is_silent:
            await reader.read()
            return
        for packet in self.handler(query, True):
            writer.write(struct.pack(">H", len(packet)) + packet)
        await writer.drain()
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: Nameserver) -> None:
        self._server = server

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.datagram(data, addr)
