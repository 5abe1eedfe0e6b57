"""Many datagrams from a netlink socket at one stroke: `recvmmsg` through ctypes.

Knows the call and the memory that it works on; must not know what it receives.
Keeps: the addresses that the kernel is given lie in memory that lives as long
as this object. One call a datagram would cost twice as much, and give up the
interpreter's lock each time: a thread that reads 100,000 would wait for the
loop's as often.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket

from dynallow.msghdr import Iovec, Message, recvmmsg


class Burst:
    """Room for `count` datagrams of at most `size` bytes; what is longer is cut."""

    def __init__(self, count: int, size: int) -> None:
        self._count = count
        self._size = size
        self._data = ctypes.create_string_buffer(count * size)
        self._iovs = (Iovec * count)()
        self._messages = (Message * count)()
        data, iovs = ctypes.addressof(self._data), ctypes.addressof(self._iovs)
        for slot in range(count):
            self._iovs[slot] = Iovec(data + slot * size, size)
            self._messages[slot].head.iovs = iovs + slot * ctypes.sizeof(Iovec)
            self._messages[slot].head.iov_count = 1

    def receive(self, sock: socket.socket) -> bytes:
        """The datagrams that wait in the socket, up to `count`, `size` bytes each with old ones behind it.

        Raises OSError.
        """
        got = recvmmsg(sock.fileno(), self._messages, self._count, socket.MSG_DONTWAIT, None)
        if got < 0:
            number = ctypes.get_errno()
            if number != errno.EAGAIN:
                raise OSError(number, os.strerror(number))
            got = 0
        return ctypes.string_at(self._data, got * self._size)
