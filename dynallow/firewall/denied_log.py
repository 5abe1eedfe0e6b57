"""Hears of denied packets, a sample of them: NFLOG, by a netlink socket of our own.

The chain's rule says how many a second are sent at most (`firewall.log-rate`); the exact counts are the
chain's (`tallies.py`). Knows netlink and the first bytes of a packet; must not know whose it was.

Keeps: it stands by. Nothing here fails, waits or takes long, whatever comes: a turn of the loop reads
a few, a second some thousand; what is over that stays in the socket, which is small, and the kernel drops
what does not fit (it tells so once, ENOBUFS). Bytes that are not what they should be are counted.
Layout: include/uapi/linux/netfilter/nfnetlink_log.h; pyroute2 has no NFLOG.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from dynallow.errors import KernelError
from dynallow.firewall.listing import attributes
from dynallow.firewall.netlink import open_socket

log = logging.getLogger(__name__)

_PACKET, _CONFIG = 4 << 8, 4 << 8 | 1  # NFNL_SUBSYS_ULOG
_HEADER = struct.Struct("=IHHII")
_NFGENMSG = 4
_NLMSG_ERROR = 2
_F_REQUEST, _F_ACK = 0x1, 0x4
_CFG_CMD, _CFG_MODE, _CFG_BUFFER, _CFG_TIMEOUT, _CFG_THRESHOLD = 1, 2, 3, 4, 5
_BIND, _UNBIND, _COPY_PACKET = 1, 2, 2
_OUT, _PAYLOAD, _UID = 5, 9, 11  # NFULA_IFINDEX_OUTDEV, _PAYLOAD, _UID

_COPIED: Final = 128
"""Of each packet: an IPv6 header, the extension headers that there may honestly be, and the ports."""
_KERNEL_BUFFER: Final = 512
"""What the kernel takes for each; more, where it needs more."""
_RECEIVE: Final = 8192
_RECEIVE_BUFFER: Final = 2 << 20  # more than the chain lets through at once (`build.py`)
_TURN: Final = 16
"""Datagrams read in one turn of the loop."""
_SECOND: Final = 2000
"""Packets read in one second; then the socket is let alone until the next one."""
_SECOND_S: Final = 1.0
_AGAIN_S: Final = 60.0

_PORTS = (6, 17)  # as the chain's counters: of TCP and UDP
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AH, _OPTIONS = 0, 43, 44, 51, 60
_EXTENSIONS_MAX = 8


class DeniedPacket(NamedTuple):
    """What is known of one; addresses packed, as they stand in the packet."""

    at: float
    """Seconds of the wall clock, when it was read."""
    address: bytes
    """Where it was to go."""
    protocol: int
    port: int
    """Where it was to go; 0 of what is neither TCP nor UDP, or where the packet ends before it."""
    source: bytes
    source_port: int
    uid: int | None
    """Of whoever made the socket; None where a packet has none (ICMP errors, resets, what is forwarded)."""
    interface: int
    """Index of the interface that it would have left by; 0 is unknown."""


@dataclass(slots=True)
class DeniedLogCounts:
    """Since the agent's start."""

    packets: int = 0
    malformed: int = 0
    lost: int = 0
    """How often the kernel found the socket full: each time one packet or many were dropped."""
    rests: int = 0
    """How often more came in a second than is read."""


class DeniedLog:
    """The socket of one NFLOG group. `on_packets` is called in the loop, with a few at a time."""

    def __init__(
        self, on_packets: Callable[[list[DeniedPacket]], None], wall: Callable[[], float] = time.time
    ) -> None:
        self.counts = DeniedLogCounts()
        self.why_not: str | None = None
        """In words, why nothing is heard."""
        self.group: int | None = None
        """The one that is heard."""
        self._wanted: int | None = None
        self._on_packets = on_packets
        self._wall = wall
        self._sock: socket.socket | None = None
        self._left = _SECOND
        self._rest: asyncio.TimerHandle | None = None

    def follow(self, group: int) -> None:
        """Hear this group from now on; again, where it could not be had before. Raises nothing."""
        self._wanted = group
        if self.group == group:
            return
        self.close()
        sock = None
        try:
            sock = open_socket(_RECEIVE_BUFFER)
            _bind(sock, group)
            sock.setblocking(False)
        except (OSError, KernelError) as error:
            if sock is not None:
                sock.close()
            self._tell(_why_not(group, error))
            return
        self._sock, self.group, self.why_not = sock, group, None
        self._listen()

    async def watch(self) -> None:
        """Now and then, whether a group that could not be had is free. Never ends."""
        while True:
            await asyncio.sleep(_AGAIN_S)
            if self._wanted is not None:
                self.follow(self._wanted)

    def close(self) -> None:
        """Hear nothing more."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
        self._sock = self.group = None

    def _tell(self, why_not: str) -> None:
        if why_not != self.why_not:
            log.warning("%s", why_not)
        self.why_not = why_not

    def _listen(self) -> None:
        self._rest, self._left = None, _SECOND
        if self._sock is not None:
            loop = asyncio.get_running_loop()
            loop.add_reader(self._sock, self._read)
            self._rest = loop.call_later(_SECOND_S, self._renew)

    def _renew(self) -> None:
        """A second is over."""
        if self._left <= 0:
            self.counts.rests += 1
            self._listen()
        else:
            self._rest = None

    def _read(self) -> None:
        if self._sock is None:
            return
        loop = asyncio.get_running_loop()
        if self._rest is None:
            self._left = _SECOND
            self._rest = loop.call_later(_SECOND_S, self._renew)
        packets: list[DeniedPacket] = []
        for _ in range(_TURN):
            try:
                datagram = self._sock.recv(_RECEIVE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    self.close()
                    self._tell(f"denied packets are not heard any more: {error}")
                    break
                self.counts.lost += 1
                continue
            for packet in decode(datagram, self._wall()):
                if packet is None:
                    self.counts.malformed += 1
                else:
                    packets.append(packet)
            self._left -= 1
        if self._left <= 0 and self._sock is not None:
            loop.remove_reader(self._sock)
        if packets:
            self.counts.packets += len(packets)
            self._on_packets(packets)


def decode(datagram: bytes, at: float) -> Iterator[DeniedPacket | None]:
    """The packets that a datagram from the kernel tells of; None for each that is not what it should be."""
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, _, _, _ = _HEADER.unpack_from(datagram, offset)
        if length < _HEADER.size or offset + length > len(datagram):
            yield None
            return
        if kind == _PACKET:
            yield _packet(attributes(datagram[offset + _HEADER.size : offset + length], _NFGENMSG), at)
        offset += (length + 3) & ~3


def _packet(told: dict[int, bytes], at: float) -> DeniedPacket | None:
    payload = told.get(_PAYLOAD, b"")
    version = payload[0] >> 4 if payload else 0
    if version == 4 and len(payload) >= 20:
        source, address, protocol = payload[12:16], payload[16:20], payload[9]
        # Of later fragments the first bytes are not ports.
        transport = None if payload[6] & 0x1F or payload[7] else (payload[0] & 0xF) * 4
        if transport is not None and transport < 20:
            return None
    elif version == 6 and len(payload) >= 40:
        source, address = payload[8:24], payload[24:40]
        protocol, transport = _upper(payload)
    else:
        return None
    source_port = port = 0
    if protocol in _PORTS and transport is not None and len(payload) >= transport + 4:
        source_port, port = struct.unpack_from(">HH", payload, transport)
    uid, out = _word(told.get(_UID)), _word(told.get(_OUT))
    return DeniedPacket(at, address, protocol, port, source, source_port, uid, out or 0)


def _upper(payload: bytes) -> tuple[int, int | None]:
    """The protocol behind the extension headers, and where it begins; None where it is not there."""
    following, offset = payload[6], 40
    for _ in range(_EXTENSIONS_MAX):
        if following not in (_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AH, _OPTIONS):
            return following, offset
        if offset + 8 > len(payload):
            return following, None
        size = (payload[offset + 1] + 1) * 8
        if following == _FRAGMENT:
            if payload[offset + 2] or payload[offset + 3] & 0xF8:
                return payload[offset], None
            size = 8
        elif following == _AH:
            size = (payload[offset + 1] + 2) * 4
        following, offset = payload[offset], offset + size
    return following, None


def _word(value: bytes | None) -> int | None:
    return int.from_bytes(value, "big") if value is not None and len(value) == 4 else None


def _bind(sock: socket.socket, group: int) -> None:
    """Raises OSError as the kernel refuses."""
    for option in (
        _attribute(_CFG_CMD, struct.pack("B", _BIND)),
        _attribute(_CFG_MODE, struct.pack(">IBB", _COPIED, _COPY_PACKET, 0)),
        # Each packet at once: so late that its program is gone, nobody can tell whose it was.
        _attribute(_CFG_BUFFER, struct.pack(">I", _KERNEL_BUFFER))
        + _attribute(_CFG_TIMEOUT, struct.pack(">I", 1))
        + _attribute(_CFG_THRESHOLD, struct.pack(">I", 1)),
    ):
        body = struct.pack(">BBH", socket.AF_UNSPEC, 0, group) + option
        sock.send(_HEADER.pack(16 + len(body), _CONFIG, _F_REQUEST | _F_ACK, 1, 0) + body)
        _acknowledged(sock)


def _acknowledged(sock: socket.socket) -> None:
    """Packets of the group may come before it."""
    while True:
        answer = sock.recv(_RECEIVE)
        if _HEADER.unpack_from(answer)[1] == _NLMSG_ERROR:
            if number := -struct.unpack_from("=i", answer, 16)[0]:
                raise OSError(number, os.strerror(number))
            return


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _why_not(group: int, error: OSError | KernelError) -> str:
    # The kernel says EPERM to all but the socket that holds the group.
    if error.errno in (errno.EPERM, errno.EBUSY, errno.EEXIST):
        return (
            f"who sends denied packets is not known: NFLOG group {group} is another program's, or this "
            "kernel does not allow it; set firewall.log-group to a free one"
        )
    return f"who sends denied packets is not known: NFLOG group {group}: {error}"
