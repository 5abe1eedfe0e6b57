"""One UDP socket, read and answered a burst at a time: `recvmmsg` and `sendmmsg` through ctypes.

Knows the two calls and the memory that they work on; must not know DNS beyond
the two bytes of an id. Invariant: every address that the kernel is given lies
in memory that lives as long as this object and is made once, at the start;
what is written there goes through slices that check their bounds.

A datagram has a slot until the next burst: its bytes, its sender's address
and, on a wildcard socket, the address that was asked, as the kernel wrote them.
A reply leaves with the same slot's, so that no address ever becomes an object.

Linux has had both calls since 3.0, before nf_tables, and glibc and musl have
them too: there is no second way to read a socket here.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import mmap
import os
import socket
from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final

from dynallow.msghdr import Head, Iovec, Message, recvmmsg_held, sendmmsg, sendmmsg_held
from dynallow.wire.numbers import HEADER_SIZE, UDP_SAFE

log = logging.getLogger(__name__)

BURST: Final = 64
DATAGRAM_MAX: Final = 4096

_ID: Final = 2
# More than a datagram, to see which one is longer; and not 4096: slots whole pages apart would
# share the same few lines of the processor's cache.
_SLOT: Final = DATAGRAM_MAX + 64
_NAME: Final = 32  # sockaddr_in or sockaddr_in6, and to the next word
_NAME_SIZE: Final = {socket.AF_INET: 16, socket.AF_INET6: 28}
_PKTINFO: Final = {socket.AF_INET: socket.CMSG_SPACE(12), socket.AF_INET6: socket.CMSG_SPACE(20)}
_SENDER: Final = _NAME + _PKTINFO[socket.AF_INET6]

_MESSAGE: Final = ctypes.sizeof(Message)
_AT_ONCE: Final = int(socket.MSG_DONTWAIT)


class Datagrams:
    """A bound UDP socket. With `asked`, replies leave from the address that was asked: PKTINFO is on."""

    def __init__(
        self, sock: socket.socket, *, asked: bool, unsent: Callable[[int], None] = lambda count: None
    ) -> None:
        """`unsent` is told how many replies the kernel has not taken."""
        self._unsent = unsent
        self._fd = sock.fileno()
        self._name_size = _NAME_SIZE[sock.family]
        self._control_size = _PKTINFO[sock.family] if asked else 0
        self._forget_interface = asked and sock.family == socket.AF_INET

        self._data = mmap.mmap(-1, BURST * _SLOT)
        self._senders = mmap.mmap(-1, (BURST + 1) * _SENDER)  # the last is for `send`
        self._bodies = mmap.mmap(-1, BURST * UDP_SAFE)
        self._late = mmap.mmap(-1, 1 << 16)
        self._bodies_at = _address(self._bodies)

        self._headers = mmap.mmap(-1, BURST * _MESSAGE)
        self._to_receive = (Message * BURST).from_buffer(self._headers)
        self._to_send = (Message * (BURST + 1))()
        self._receive_iovs = (Iovec * BURST)()
        self._send_iovs = (Iovec * (2 * BURST + 1))()
        data, late, pair = _address(self._data), _address(self._late), 2 * ctypes.sizeof(Iovec)
        for slot in range(BURST):
            datagram = data + slot * _SLOT
            self._receive_iovs[slot] = Iovec(datagram, DATAGRAM_MAX + 1)
            self._to_receive[slot] = self._message(slot, self._receive_iovs, slot * pair // 2, 1)
            self._send_iovs[2 * slot] = Iovec(datagram, _ID)
            self._send_iovs[2 * slot + 1] = Iovec(self._bodies_at, 0)
            self._to_send[slot] = self._message(slot, self._send_iovs, slot * pair, 2)
        self._late_iov = self._send_iovs[2 * BURST]  # a view, made once
        self._late_iov.base, self._late_iov.size = late, 0
        self._to_send[BURST] = self._message(BURST, self._send_iovs, BURST * pair, 1)
        self._pristine = self._headers[:]
        self._receive_at = ctypes.c_void_p(ctypes.addressof(self._to_receive))
        self._send_at = [ctypes.c_void_p(ctypes.addressof(message)) for message in self._to_send]

        # What differs from burst to burst, as columns: one step writes a field of all messages.
        self._sizes = _column(self._to_receive, "I", Message.size.offset)
        self._body_bases = _column(self._send_iovs, "L", ctypes.sizeof(Iovec), 2)
        self._body_sizes = _column(self._send_iovs, "L", ctypes.sizeof(Iovec) + Iovec.size.offset, 2)
        words = memoryview(self._senders).cast("I")
        self._interfaces = words[(_NAME + socket.CMSG_LEN(0)) // 4 :: _SENDER // 4]
        self._no_interfaces = array("I", bytes(4 * BURST))
        self._slots = range(0, BURST * _SLOT, _SLOT)
        self._after_ids = range(_ID, BURST * _SLOT, _SLOT)
        self._came: list[int] = []

    def _message(self, slot: int, iovs: ctypes.Array[Iovec], offset: int, count: int) -> Message:
        sender = _address(self._senders) + slot * _SENDER
        iov = ctypes.addressof(iovs) + offset
        return Message(Head(sender, self._name_size, iov, count, sender + _NAME, self._control_size), 0)

    def close(self) -> None:
        """Send nothing any more: the number of a closed socket may soon be another's."""
        self._fd = -1

    # ------------------------------------------------------------ a burst

    def receive(self) -> list[bytes]:
        """What has come, at most BURST datagrams: of each the bytes after its id."""
        if self._control_size:
            # The kernel writes how long each control message was over how long it may be.
            used = len(self._came) * _MESSAGE
            self._headers[:used] = self._pristine[:used]
        count = recvmmsg_held(self._fd, self._receive_at, BURST, _AT_ONCE, None)
        if count == 1 and not self._control_size:
            size = self._sizes[0]
            self._came = [size]
            return [self._data[_ID:size]]
        if count <= 0:  # none yet, or an error: the loop says when there is more
            self._came = []
            return []
        self._came = came = self._sizes[:count].tolist()
        if self._forget_interface:
            # IPv4's structure is (interface, local address, header's address); what is sent with
            # an interface leaves by it, whatever the routes say. IPv6's link-local ones need it.
            self._interfaces[:count] = self._no_interfaces[:count]
        data = self._data
        return [data[start : start + size - _ID] for start, size in zip(self._after_ids, came, strict=False)]

    def datagram(self, slot: int) -> bytes:
        """A whole datagram. Of one that is too long the header alone, which is no question either."""
        size = self._came[slot]
        start = self._slots[slot]
        return self._data[start : start + (size if size <= DATAGRAM_MAX else HEADER_SIZE)]

    def sender(self, slot: int) -> bytes:
        """Where `send` shall send the reply; a copy."""
        return self._senders[slot * _SENDER : (slot + 1) * _SENDER]

    def reply(self, bodies: Sequence[bytes | None]) -> None:
        """Send each slot its reply, less the id that the slot has; None sends nothing."""
        count = len(bodies)
        if count == 1:  # as below, at half the cost; most bursts are this one unless there is a crowd
            if body := bodies[0]:
                size = len(body)
                self._bodies[:size] = body
                self._body_sizes[0] = size
                if sendmmsg_held(self._fd, self._send_at[0], 1, _AT_ONCE) != 1:
                    self._send(0, 1)
            return
        if not any(bodies):
            return
        given = [body or b"" for body in bodies]
        sizes = [*map(len, given)]
        joined = b"".join(given)
        self._bodies[: len(joined)] = joined
        self._body_sizes[:count] = array("L", sizes)
        self._body_bases[:count] = array("L", accumulate(sizes, initial=self._bodies_at))[:count]
        first = 0
        if not all(sizes):
            for slot, size in enumerate(sizes):
                if not size:
                    self._send(first, slot)
                    first = slot + 1
        self._send(first, count)

    def _send(self, first: int, end: int) -> None:
        while first < end:
            sent = sendmmsg_held(self._fd, self._send_at[first], end - first, _AT_ONCE)
            if sent <= 0:  # once more by the call that says why
                sent = sendmmsg(self._fd, self._send_at[first], end - first, _AT_ONCE)
            if sent > 0:  # fewer than asked: the next one failed, and says why when it is the first
                first += sent
                continue
            error = ctypes.get_errno()
            if error == errno.EAGAIN:
                self._unsent(end - first)
                return  # the buffer is full, for the others too; clients ask again (RFC 1035 section 4.2.1)
            if error != errno.EINTR:
                log.debug("reply not sent: %s", os.strerror(error))
                self._unsent(1)
                first += 1

    # ------------------------------------------------------------ one reply, later

    def send(self, reply: bytes, sender: bytes) -> None:
        """Send one whole reply to where a datagram came from."""
        self._late[: len(reply)] = reply
        self._senders[BURST * _SENDER :] = sender
        self._late_iov.size = len(reply)
        self._send(BURST, BURST + 1)


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _column(
    rows: ctypes.Array[Message] | ctypes.Array[Iovec], code: str, offset: int, step: int = 1
) -> memoryview:
    """One field of every `step`th row, to read and to write."""
    view: memoryview = memoryview(rows).cast("B").cast(code)  # type: ignore[call-overload]
    return view[offset // view.itemsize :: step * ctypes.sizeof(rows._type_) // view.itemsize]
