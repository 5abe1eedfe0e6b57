"""Sockets from outside: whose they are, and how to end one (sock_diag(7), SOCK_DESTROY).

A flow that the chain stops leaves its program waiting: for a TCP peer's silence, up to fifteen minutes. A
socket that is ended so gives ECONNABORTED at once. The kernel is asked for each socket by its cookie, so
that none is hit that took its place. By hand: pyroute2 knows neither the request nor UDP sockets.

Not for the loop's thread. Must not know leases; whoever calls says which sockets.
Layout: include/uapi/linux/inet_diag.h. `inet_diag_msg` and `inet_diag_req_v2` share the socket's identity.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

from dynallow.firewall.listing import attributes

log = logging.getLogger(__name__)

_NETLINK_SOCK_DIAG, _BY_FAMILY, _DESTROY = 4, 20, 21
_F_REQUEST, _F_ACK, _F_DUMP = 0x1, 0x4, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBBI")
_IDENTITY = struct.Struct(">HH16s16s4s8s")
_MESSAGE = struct.Struct(f"=4x{_IDENTITY.size}s3I2I")
_RECEIVE = 65536
_PATIENCE_S = 5.0
_SOCKETS_MAX = 200_000
# TCP_ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING: whatever has a
# peer. Of UDP the first alone: sockets that are connected.
_STATES = {6: sum(1 << state for state in (1, 2, 3, 4, 5, 8, 9, 11)), 17: 1 << 1}
_MARK = 15  # INET_DIAG_MARK
_MAPPED = bytes(10) + b"\xff\xff"

Ends = tuple[int, bytes, int, bytes, int]
"""Protocol, own address and port, the peer's address and port; addresses packed."""


class Held(NamedTuple):
    """A socket that has a peer."""

    uid: int
    mark: int
    request: bytes
    """What ends it."""


def works() -> bool:
    """Whether this kernel ends sockets when asked to. Leaves nothing behind.

    Asked for one that cannot be (cookie 0 of a connection from nowhere to nowhere): a kernel that can says
    that it is not there; one without CONFIG_INET_DIAG_DESTROY, or an agent that may not, something else.
    """
    nobody = _IDENTITY.pack(0, 0, bytes(16), bytes(16), bytes(4), bytes(8))
    try:
        with _open() as sock:
            number = _destroy(sock, _REQUEST.pack(socket.AF_INET, 6, 0, 0, 0xFFFFFFFF) + nobody)
    except OSError as error:
        log.debug("no SOCK_DESTROY: %s", error)
        return False
    return number == errno.ENOENT


def sockets() -> dict[Ends, Held]:
    """Every TCP and UDP socket that has a peer, by its ends. Raises OSError when the kernel does not tell."""
    found: dict[Ends, Held] = {}
    with _open() as sock:
        for protocol, states in _STATES.items():
            for family in (socket.AF_INET, socket.AF_INET6):
                body = _REQUEST.pack(family, protocol, 0, 0, states) + bytes(_IDENTITY.size)
                sock.send(_HEADER.pack(16 + len(body), _BY_FAMILY, _F_REQUEST | _F_DUMP, 1, 0) + body)
                for message in _read(sock):
                    if len(found) < _SOCKETS_MAX:
                        ends, held = _held(message, family, protocol)
                        found[ends] = held
    return found


def destroy(held: list[Held]) -> int:
    """End these; returns how many there were to end. Raises OSError when the kernel refuses."""
    count = 0
    with _open() as sock:
        for one in held:
            number = _destroy(sock, one.request)
            if number == 0:
                count += 1
            elif number not in (errno.ENOENT, errno.ESTALE, errno.ENOTCONN):  # it ended by itself meanwhile
                raise OSError(number, os.strerror(number))
    return count


def _held(message: bytes, family: int, protocol: int) -> tuple[Ends, Held]:
    identity, _, _, _, uid, _ = _MESSAGE.unpack_from(message)
    port, peer_port, source, peer, _, _ = _IDENTITY.unpack(identity)
    if family == socket.AF_INET:
        own, its = source[:4], peer[:4]
    elif peer.startswith(_MAPPED):  # an IPv6 socket that speaks IPv4
        own, its = source[12:], peer[12:]
    else:
        own, its = source, peer
    mark = attributes(message, _MESSAGE.size).get(_MARK, b"")
    request = _REQUEST.pack(family, protocol, 0, 0, 0xFFFFFFFF) + identity
    return (protocol, own, port, its, peer_port), Held(uid, int.from_bytes(mark, sys.byteorder), request)


def _open() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
    sock.settimeout(_PATIENCE_S)
    return sock


def _destroy(sock: socket.socket, body: bytes) -> int:
    """The errno of it; 0 when the socket is ended."""
    sock.send(_HEADER.pack(16 + len(body), _DESTROY, _F_REQUEST | _F_ACK, 2, 0) + body)
    answer = sock.recv(_RECEIVE)
    _, kind, _, _, _ = _HEADER.unpack_from(answer)
    return -struct.unpack_from("=i", answer, 16)[0] if kind == _NLMSG_ERROR else errno.EPROTO


def _read(sock: socket.socket) -> Iterator[bytes]:
    """The bodies of a dump's messages."""
    while True:
        datagram = sock.recv(_RECEIVE)
        offset = 0
        while offset + _HEADER.size <= len(datagram):
            length, kind, _, _, _ = _HEADER.unpack_from(datagram, offset)
            if length < _HEADER.size or offset + length > len(datagram):
                break
            if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                number = -struct.unpack_from("=i", datagram, offset + 16)[0] if length >= 20 else 0
                if number:
                    raise OSError(number, os.strerror(number))
                return
            if length >= _HEADER.size + _MESSAGE.size:
                yield datagram[offset + _HEADER.size : offset + length]
            offset += (length + 3) & ~3
