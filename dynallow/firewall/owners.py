"""Whose a socket is, by its ends: uid, inode and cgroup, from the kernel (sock_diag(7)).

One question and one answer, some 10 µs, without a wait: so it can be asked in the loop's thread at the
moment when somebody's question or packet is refused, while the socket is still there. `sock_destroy.py`
lists all of them, which takes as long as there are sockets.

Knows netlink; must not know processes or units. Keeps: nothing is raised and nothing is guessed; a socket
that is not there (refused by a reset and so forgotten, closed, of no ports) is None.
Layout: include/uapi/linux/inet_diag.h.
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
import sys
from typing import Final, NamedTuple

from dynallow.firewall.listing import attributes, open_to_ask

log = logging.getLogger(__name__)

_NETLINK_SOCK_DIAG, _BY_FAMILY = 4, 20
_HEADER = struct.Struct("=IHHII")
_F_REQUEST, _F_DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST = struct.Struct("=BBBBI")
_ENDS = struct.Struct(">HH16s16s")
_ANY_INTERFACE_AND_COOKIE: Final = bytes(4) + b"\xff" * 8  # INET_DIAG_NOCOOKIE
_MESSAGE: Final = 72  # struct inet_diag_msg; its last two words are uid and inode
_OWNER = struct.Struct("=II")
_CGROUP: Final = 21  # INET_DIAG_CGROUP_ID
_SEQUENCE_AT: Final = 8
_RECEIVE: Final = 16384
_PATIENCE_S: Final = 0.2
_TCP, _UDP = 6, 17
_DATAGRAMS: Final = 64
"""Of one listing by port, at most."""
_NOBODY: Final = 0xFFFFFFFF


class Owner(NamedTuple):
    """Of a socket that is there."""

    uid: int
    inode: int
    """As in the link's text of /proc/PID/fd: "socket:[inode]"; 0 when no program holds it any more."""
    cgroup: int
    """Id of its cgroup (version 2), which is the inode number of the cgroup's directory; 0 is unknown."""


class Owners:
    """A socket to ask by. Not for two threads at once."""

    def __init__(self) -> None:
        """Opens nothing yet: where the kernel has no sock_diag, there is nothing to be known."""
        self._sock: socket.socket | None = None
        self._sequence = 0
        self.failed = 0
        """Questions that the kernel refused or did not answer."""

    def close(self) -> None:
        """Ask nothing more, until the next question."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def look_up(
        self, protocol: int, source: bytes, source_port: int, address: bytes, port: int
    ) -> Owner | None:
        """Of the socket that sends TCP or UDP from (source, port) to (address, port); addresses packed.

        In any state that a TCP socket has a peer in; a UDP socket also when it is not connected.
        """
        if protocol not in (_TCP, _UDP) or not source_port or len(source) != len(address):
            return None
        own, its = (source, source_port), (address, port)
        if protocol == _UDP:
            # Of UDP the kernel looks for who receives what such a packet brings: the ends change places
            # (udp_dump_one: "src and dst are swapped for historical reasons").
            own, its = its, own
        ends = _ENDS.pack(own[1], its[1], own[0], its[0])
        family = socket.AF_INET if len(source) == 4 else socket.AF_INET6
        for body in self._ask(family, protocol, ends + _ANY_INTERFACE_AND_COOKIE, 0):
            return _owner(body)
        return None

    def at_port(self, protocol: int, family: int, source_port: int) -> list[Owner]:
        """Of all sockets that are bound to this port; a listing, not for the loop's thread.

        For a UDP socket that believes itself connected to somewhere else: whose packets were turned.
        """
        ends = _ENDS.pack(source_port, 0, bytes(16), bytes(16))
        found = self._ask(family, protocol, ends + bytes(12), _F_DUMP)
        return [owner for owner in map(_owner, found) if owner is not None and owner.inode]

    def _ask(self, family: int, protocol: int, identity: bytes, flags: int) -> list[bytes]:
        """The bodies of the answer; none when there is no such socket, or nothing to be heard."""
        try:
            if self._sock is None:
                self._sock = open_to_ask(_NETLINK_SOCK_DIAG, _PATIENCE_S)
            self._sequence = self._sequence % 0x7FFFFFFF + 1
            body = _REQUEST.pack(family, protocol, 0, 0, _NOBODY) + identity
            header = _HEADER.pack(16 + len(body), _BY_FAMILY, _F_REQUEST | flags, self._sequence, 0)
            self._sock.send(header + body)
            return self._answer(self._sock, bool(flags & _F_DUMP))
        except OSError as error:
            log.debug("sock_diag: %s", error)
            self.failed += 1
            self.close()  # what is still to come on it answers nothing that is asked later
            return []

    def _answer(self, sock: socket.socket, dump: bool) -> list[bytes]:
        bodies: list[bytes] = []
        for _ in range(_DATAGRAMS):
            datagram = sock.recv(_RECEIVE)
            offset = 0
            while offset + _HEADER.size <= len(datagram):
                length, kind, _, sequence, _ = _HEADER.unpack_from(datagram, offset)
                if length < _HEADER.size or offset + length > len(datagram):
                    raise OSError(errno.EBADMSG, "an answer that is none")
                body = datagram[offset + _HEADER.size : offset + length]
                offset += (length + 3) & ~3
                if sequence != self._sequence:
                    continue
                if kind == _NLMSG_ERROR:
                    number = -int.from_bytes(body[:4], sys.byteorder, signed=True)
                    if number not in (0, errno.ENOENT):
                        raise OSError(number, "refused")
                    return bodies
                if kind == _NLMSG_DONE:
                    return bodies
                if kind == _BY_FAMILY:
                    bodies.append(body)
                    if not dump:
                        return bodies
        self.close()  # there is more than is wanted
        return bodies


def _owner(body: bytes) -> Owner | None:
    if len(body) < _MESSAGE:
        return None
    uid, inode = _OWNER.unpack_from(body, _MESSAGE - _OWNER.size)
    cgroup = int.from_bytes(attributes(body, _MESSAGE).get(_CGROUP, b"")[:8], sys.byteorder)
    return Owner(uid, inode, cgroup)
