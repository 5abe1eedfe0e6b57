"""Notices when somebody else changes `table inet dynallow`.

The kernel tells every nf_tables change on a multicast group: messages that
name the table, then NEWGEN with the process that did it. Our own
transactions are most of that traffic; a socket filter drops them in the
kernel, by the sending socket's port id, so that a fresh answer does not wake
this up. Expiry sends no event. Of an owned table there is nothing to hear, and
where nobody listens the kernel writes no messages either: then `rest` is called.
Knows netlink; what to do about a change is the agent's.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import select
import socket
import struct
from collections.abc import Callable

from dynallow.firewall.netlink import open_socket, translate
from dynallow.firewall.ruleset import TABLE

log = logging.getLogger(__name__)

_SOL_NETLINK, _ADD_MEMBERSHIP, _DROP_MEMBERSHIP = 270, 1, 2
_NFNLGRP_NFTABLES = 7
_NFT_MSG_NEWGEN = (10 << 8) | 15
_GEN_PROC_PID, _GEN_PROC_NAME = 2, 3
_NFPROTO_INET = 1  # nfgenmsg's family: "ip dynallow" is another's table
_ATTR_TABLE = 1  # NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE, …: all 1
_SO_ATTACH_FILTER = 26


class Watch:
    """Calls `on_change(process)` after each foreign transaction that touched the table."""

    def __init__(self, own_port: int, on_change: Callable[[str], None]) -> None:
        self._on_change = on_change
        self._touched = False
        self._sock = open_socket(receive_buffer=4 << 20)
        self._sock.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._sock, select.POLLIN)
        _drop_from(self._sock, own_port)
        try:
            self._sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
        except OSError as error:
            self._sock.close()
            raise translate(error.errno or 0, "watching nf_tables for changes") from error

    def start(self) -> None:
        """Begin to listen."""
        asyncio.get_running_loop().add_reader(self._sock, self._read)

    def close(self) -> None:
        """Stop listening."""
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()

    def rest(self) -> None:
        """Listen no longer; what was told before is still heard."""
        self._sock.setsockopt(_SOL_NETLINK, _DROP_MEMBERSHIP, _NFNLGRP_NFTABLES)

    def listen(self) -> None:
        """Listen again. What happened meanwhile is not told."""
        self._sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)

    def look(self) -> None:
        """Hear now what is already told, instead of at the loop's next turn.

        The kernel tells of a change before whoever made it goes on. So a question
        that is read after a look, and was asked after a change, is answered after it too.
        """
        if self._poll.poll(0):
            self._read()

    def _read(self) -> None:
        changed = self._drain()
        if changed:
            self._on_change(changed[-1])

    def _drain(self) -> list[str]:
        """The processes that changed the table since the last look."""
        changed: list[str] = []
        while True:
            try:
                changed += self._processes(self._sock.recv(1 << 18))
            except BlockingIOError:
                return changed
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # closed: nothing more will come
                    return changed
                # events were lost, so it must be taken that one of them touched the table
                changed.append("somebody (events were lost)")

    def _processes(self, datagram: bytes) -> list[str]:
        """Who ended a transaction on our table in this datagram."""
        found = []
        offset = 0
        while offset + 20 <= len(datagram):
            length, kind = struct.unpack_from("=IH", datagram, offset)
            if length < 20:
                break
            attributes = _attributes(datagram[offset + 20 : offset + length])
            if kind == _NFT_MSG_NEWGEN:
                (pid,) = struct.unpack(">I", attributes.get(_GEN_PROC_PID, bytes(4)))
                name = attributes.get(_GEN_PROC_NAME, b"").rstrip(b"\0").decode("ascii", "replace")
                if self._touched:
                    found.append(f"{name or 'a process'} (pid {pid})")
                self._touched = False
            elif datagram[offset + 16] == _NFPROTO_INET and _table(attributes) == TABLE.encode():
                self._touched = True
            offset += (length + 3) & ~3
        return found


def _table(attributes: dict[int, bytes]) -> bytes:
    return attributes.get(_ATTR_TABLE, b"").rstrip(b"\0")


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def _drop_from(sock: socket.socket, port: int) -> None:
    """Drop what the socket with this port id caused: nlmsg_pid, the word at offset 12.

    Classic BPF loads words as big-endian, netlink writes them as the host does.
    """
    (swapped,) = struct.unpack(">I", struct.pack("=I", port))
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (0x20, 0, 0, 12),  # load the word at 12
            (0x15, 0, 1, swapped),  # equal: go on, else skip one
            (0x06, 0, 0, 0),  # drop
            (0x06, 0, 0, 0xFFFFFFFF),  # pass
        )
    )
    buffer = ctypes.create_string_buffer(program, len(program))
    sock.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(program) // 8, ctypes.addressof(buffer))
    )
