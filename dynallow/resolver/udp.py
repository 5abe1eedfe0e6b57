"""UDP listener: drains its socket on each wake-up, answers hot questions at once.

The first hot path. asyncio's own datagram transport allocates 256 KiB a
datagram and costs five times as much as `add_reader` and a loop.
What is not hot goes the road: at once as far as it need not wait.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from typing import Any

from dynallow.resolver.road import Road
from dynallow.units import Endpoint

log = logging.getLogger(__name__)

_BURST = 64
_PACKET_MAX = 4096
_RECEIVE_BUFFER = 4 << 20

Client = tuple[Any, ...]
"""A socket address as `recvfrom` gives it."""

_IP_PKTINFO = 8
_ANCILLARY = socket.CMSG_SPACE(20)


class UdpListener:
    """One listening address."""

    def __init__(self, endpoint: Endpoint, road: Road) -> None:
        self.endpoint = endpoint
        self._road = road
        self._sock = open_udp(endpoint)
        # A reply must come from the address that was asked: on a wildcard socket it must be told.
        self._wildcard = endpoint.address.is_unspecified

    async def start(self) -> None:
        """Begin to answer."""
        reader = self._drain_wildcard if self._wildcard else self._drain
        asyncio.get_running_loop().add_reader(self._sock, reader)

    def close(self) -> None:
        """Stop, and free the port."""
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()

    def _drain(self) -> None:
        self._road.alert()
        receive, hot, now = self._sock.recvfrom, self._road.hot.get, time.monotonic()
        for _ in range(_BURST):
            try:
                packet, client = receive(_PACKET_MAX)
            except OSError:  # BlockingIOError: drained; else an ICMP error of an earlier reply
                return
            reply = hot(packet, now)
            if reply is None:
                self._begin(packet, client, [])
            else:
                self._road.counts.hot += 1
                self._send(reply, client, [])

    def _drain_wildcard(self) -> None:
        self._road.alert()
        now = time.monotonic()
        for _ in range(_BURST):
            try:
                packet, ancillary, _, client = self._sock.recvmsg(_PACKET_MAX, _ANCILLARY)
            except OSError:
                return
            source = [_as_source(item) for item in ancillary]
            reply = self._road.hot.get(packet, now)
            if reply is None:
                self._begin(packet, client, source)
            else:
                self._road.counts.hot += 1
                self._send(reply, client, source)

    def _begin(self, packet: bytes, client: Client, source: list[tuple[int, int, bytes]]) -> None:
        self._road.tasks.begin(self._answer(packet, client, source))

    async def _answer(self, packet: bytes, client: Client, source: list[tuple[int, int, bytes]]) -> None:
        reply = await self._road.walk(packet, udp=True)
        if reply is not None:
            self._send(reply, client, source)

    def _send(self, reply: bytes, client: Client, source: list[tuple[int, int, bytes]]) -> None:
        try:
            if source:
                self._sock.sendmsg([reply], source, 0, client)
            else:
                self._sock.sendto(reply, client)
        except OSError as error:
            # Full send buffer, or a client that is gone: it asks again (RFC 1035 section 4.2.1).
            log.debug("reply to %s not sent: %s", client, error)


def open_udp(endpoint: Endpoint) -> socket.socket:
    """A bound, non-blocking UDP socket. Raises OSError."""
    version_6 = endpoint.address.version == 6
    sock = socket.socket(
        socket.AF_INET6 if version_6 else socket.AF_INET,
        socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
    )
    try:
        if version_6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if endpoint.address.is_unspecified:
            if version_6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        _widen(sock)
        sock.bind((str(endpoint.address), endpoint.port))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"{error.strerror}: {endpoint}") from error
    return sock


def _widen(sock: socket.socket) -> None:
    """A receive buffer that holds a burst; past the system's maximum where allowed."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, 33, _RECEIVE_BUFFER)  # SO_RCVBUFFORCE
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)


def _as_source(item: tuple[int, int, bytes]) -> tuple[int, int, bytes]:
    """A received PKTINFO as the one to send with: the address that was asked, any interface.

    IPv4's structure is (interface, local address, header address): sending wants
    the local one. IPv6's link-local sources need the interface, so it stays.
    """
    level, kind, data = item
    if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
        return level, kind, bytes(4) + data[8:12] + bytes(4)
    return item
