"""Whole lists from the kernel by netlink: asked for, read to the end, cut into attributes.

By hand because pyroute2 takes 150 ms and 9 MiB to load, a seventh of the
agent's memory, for three lists of a few entries. Checked against pyroute2 in
the tests. Knows netlink's framing (include/uapi/linux/netlink.h); must not know
what the entries mean. Keeps: a list that changed while it was read is read
again; lengths are never trusted past the end of what was received.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_F_REQUEST, _F_DUMP, _F_DUMP_INTR = 0x1, 0x300, 0x10
_TYPE_MASK = 0x3FFF
_RECEIVE = 65536
_TRIES = 5
_PATIENCE_S = 2.0

Attributes = dict[int, bytes]


def open_to_ask(protocol: int, patience_s: float) -> socket.socket:
    """A netlink socket for one question after another. Raises OSError.

    The kernel has answered before `send` returns: what is not there in `patience_s` is lost (EAGAIN).
    """
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        seconds, rest = divmod(patience_s, 1)
        timeval = struct.pack("ll", int(seconds), round(rest * 1_000_000))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        sock.bind((0, 0))
    except OSError:
        sock.close()
        raise
    return sock


def list_all(protocol: int, kind: int, body: bytes) -> list[bytes]:
    """The body of each message that a dump request `kind` gives. Raises OSError as the kernel does."""
    with open_to_ask(protocol, _PATIENCE_S) as sock:
        for sequence in range(1, _TRIES + 1):
            sock.send(_HEADER.pack(16 + len(body), kind, _F_REQUEST | _F_DUMP, sequence, 0) + body)
            bodies, whole = _read(sock)
            if whole:
                return bodies
    raise OSError(errno.EINTR, os.strerror(errno.EINTR))


def _read(sock: socket.socket) -> tuple[list[bytes], bool]:
    """The bodies up to the list's end, and whether nobody changed it meanwhile."""
    bodies: list[bytes] = []
    whole = True
    while True:
        for kind, flags, body in _messages(sock.recv(_RECEIVE)):
            whole = whole and not flags & _F_DUMP_INTR
            if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                # The end carries an error too, where one came up half-way.
                if number := -_ERROR.unpack_from(body)[0] if len(body) >= _ERROR.size else 0:
                    raise OSError(number, os.strerror(number))
                return bodies, whole
            bodies.append(body)


def _messages(datagram: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, flags, body) of each message."""
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, flags, _, _ = _HEADER.unpack_from(datagram, offset)
        if length < _HEADER.size or offset + length > len(datagram):
            return
        yield kind, flags, datagram[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def attributes(body: bytes, offset: int = 0) -> Attributes:
    """The attributes by their numbers, from `offset` on."""
    found: Attributes = {}
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < _ATTRIBUTE.size or offset + length > len(body):
            break
        found[kind & _TYPE_MASK] = body[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found
