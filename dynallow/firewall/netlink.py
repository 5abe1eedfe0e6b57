"""The netlink socket that all transactions go through: elements, and the ruleset with the table's ownership.

The kernel runs a transaction inside `send`; when `send` returns, the
acknowledgement already waits in the receive queue. So a transaction is one
send and one or two receives, without a turn of the event loop. A transaction
that *fails* takes about 8 ms (the kernel waits for RCU before it rolls back):
failures must stay rare, and `Leaser` pauses after one.

Must not know DNS, leases or the loop.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator

from dynallow.errors import KernelError, SetBusyError, SetFullError, TableMissingError, UnsettledError
from dynallow.firewall.elements import Batch, acknowledgements
from dynallow.firewall.readback import DumpPart, Member, dump_request, parse_dump
from dynallow.firewall.transaction import Transaction

_NETLINK_NETFILTER = 12
_SOL_NETLINK, _CAP_ACK = 270, 10
_RECEIVE = 65536
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_DUMP_RETRIES = 5
# struct timeval. The kernel has answered before `send` returns; an answer that is not there is lost, and the
# loop must not stand still for it. It is EAGAIN then.
_PATIENCE = struct.pack("ll", 2, 0)
_SEQUENCE_AT = 8  # in a message's header
# A datagram over the send buffer is EMSGSIZE; 128 elements, a transaction's most (`Leaser`), are
# at most about 50 KiB with the longest comments, three times that replaced.
_SEND_BUFFER = 1 << 20


def open_socket(receive_buffer: int = 1 << 20) -> socket.socket:
    """A netfilter netlink socket; errors echo the header alone (NETLINK_CAP_ACK)."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    try:
        sock.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        _widen(sock, _SO_SNDBUFFORCE, socket.SO_SNDBUF, _SEND_BUFFER)
        _widen(sock, _SO_RCVBUFFORCE, socket.SO_RCVBUF, receive_buffer)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)
        sock.bind((0, 0))
    except OSError as error:
        sock.close()
        raise translate(error.errno or 0, "opening the netlink socket") from error
    return sock


def _widen(sock: socket.socket, force: int, option: int, size: int) -> None:
    """A buffer past the system's maximum; up to it in a user namespace, where forcing is refused."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, option, size)


def translate(number: int, doing: str) -> KernelError:
    """The error a refused transaction means to whoever asked for it."""
    text = f"{doing}: {os.strerror(number)} ({errno.errorcode.get(number, str(number))})"
    if number == errno.ENFILE:
        # nf_tables says "too many open files in system" when a set is at its size
        return SetFullError(
            f"{doing}: the set is full", "raise lease.max-per-rule, or split the rule", errno=number
        )
    if number == errno.EBUSY:
        # Replaced elements wait for the kernel's collector; many of one address make a chain so long that
        # it wants a new table, and it makes one at a time (rhashtable_insert_rehash).
        return SetBusyError(text, "the set's table is growing; it is tried again", errno=number)
    if number == errno.ENOENT:
        return TableMissingError(
            text, "the table or a set of it was removed; dynallow loads it again", errno=number
        )
    if number in (errno.EPERM, errno.EACCES):
        return KernelError(text, "run as root, or with CAP_NET_ADMIN", errno=number)
    return KernelError(text, errno=number)


def refused_ruleset(number: int, doing: str) -> KernelError:
    """As `translate`, of a part of the ruleset that was refused."""
    text = f"{doing}: {os.strerror(number)} ({errno.errorcode.get(number, str(number))})"
    if number in (errno.EPERM, errno.EACCES):
        return KernelError(
            text,
            "run as root, or with CAP_NET_ADMIN; and no other program may own the table",
            errno=errno.EPERM,
        )
    return KernelError(text, "run `dynallow check`", errno=number)


def dump_parts(sock: socket.socket, set_name: str, sequence: int) -> Iterator[DumpPart]:
    """A set's elements, as the kernel tells them, to its last datagram; KernelError where it refuses."""
    sock.send(dump_request(set_name, sequence))
    done = False
    while not done:
        datagram = sock.recv(_RECEIVE)
        if int.from_bytes(datagram[_SEQUENCE_AT : _SEQUENCE_AT + 4], sys.byteorder) != sequence:
            continue  # of an earlier request: its end is not this one's
        part = parse_dump(datagram)
        if part.errno:
            raise translate(part.errno, f"reading set {set_name}")
        yield part
        done = part.done


class ElementSocket:
    """Transactions on set elements, and dumps of sets. Not for two threads at once."""

    def __init__(self) -> None:
        self._sock = open_socket()
        self._sequence = 0

    @property
    def port(self) -> int:
        """The socket's netlink port id: what marks its changes in the kernel's events."""
        return int(self._sock.getsockname()[0])

    def close(self) -> None:
        """Close the socket; the sets stay."""
        self._sock.close()

    def commit(self, batch: Batch) -> None:
        """Run one transaction; returns when the kernel has acknowledged it.

        Raises KernelError when it was refused (nothing of it holds), or when
        the acknowledgement was lost: then nothing may be taken for granted.
        """
        self._sequence = self._sequence % 0x7FFFFFFF + 1
        try:
            self._sock.send(batch.pack(self._sequence))
            acknowledged, failure = self._outcome()
        except OSError as error:
            # ENOBUFS: an acknowledgement was dropped, so the outcome is unknown (8.1). It
            # counts as refused: the worst that can be is an element nobody was told about.
            self._drain()
            raise translate(error.errno or 0, "writing to a set") from error
        if failure:
            self._drain()
            raise translate(failure, "writing to a set")
        if not acknowledged:
            raise KernelError("writing to a set: no acknowledgement came", errno=errno.EAGAIN)

    def apply(self, transaction: Transaction) -> None:
        """Run one transaction on the ruleset; returns when the kernel has acknowledged it.

        Raises KernelError, which names what was refused; nothing of it holds then. EMSGSIZE: it is longer
        than this process may send at once, and two transactions would not be one. UnsettledError: all of it
        may hold, or nothing.
        """
        first = self._sequence % 0x3FFFFFFF + 1
        self._sequence = first + len(transaction) - 1
        datagram = transaction.pack(first)
        if 2 * len(datagram) > _SEND_BUFFER:
            _widen(self._sock, _SO_SNDBUFFORCE, socket.SO_SNDBUF, len(datagram))  # the kernel doubles it
        try:
            self._sock.send(datagram)
        except OSError as error:
            self._drain()
            raise translate(error.errno or 0, "loading the ruleset") from error
        refused = self._refusal()
        if refused is None:
            raise UnsettledError("loading the ruleset: no acknowledgement came", errno=errno.EAGAIN)
        if refused[1]:
            doing = f"loading the ruleset: {transaction.what(refused[0] - first)}"
            raise refused_ruleset(refused[1], doing)

    def _refusal(self) -> tuple[int, int] | None:
        """The first refusal, as (sequence, errno); (0, 0) is the acknowledgement, None: neither is known.

        There may be as many refusals as messages, more than the queue takes (ENOBUFS): the first one counts.
        After such a loss an acknowledgement alone means nothing: the kernel sends it after refusals too.
        """
        first: tuple[int, int] | None = None
        acknowledged = lost = False
        while True:
            try:
                datagram = self._sock.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return first or ((0, 0) if acknowledged and not lost else None)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise UnsettledError(f"loading the ruleset: {error}", errno=error.errno or 0) from error
                lost = True
                continue
            for sequence, number in acknowledgements(datagram):
                if number:
                    first = first or (sequence, number)
                else:  # a late one, of an earlier transaction, says nothing of this one
                    acknowledged = acknowledged or sequence == self._sequence

    def _outcome(self) -> tuple[bool, int]:
        """Whether the last message was acknowledged, and the first error of any message.

        After an error the kernel still acknowledges the last message (it goes
        on so as to report every error), so both must be looked at; a refusal
        of the whole batch (EPERM) comes without any acknowledgement.
        """
        failure = 0
        while True:
            try:
                datagram = self._sock.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False, failure
            for answered, number in acknowledgements(datagram):
                failure = failure or number
                if answered == self._sequence:
                    return True, failure

    def dump(self, set_name: str, count: int | None = None) -> list[Member]:
        """Every element of a set; asked again until as many are found as it counts, or nothing new is.

        What lapses during a dump makes the kernel pass over as many others, and it does not say so.
        Raises TableMissingError when the set is not there.
        """
        found: dict[bytes, Member] = {}
        for _ in range(_DUMP_RETRIES):
            before = len(found)
            members, interrupted = self._dump_once(set_name)
            found.update((member.address, member) for member in members)
            whole = len(found) == before or (count is not None and len(found) >= count)
            if whole and not interrupted:
                break
        return list(found.values())

    def _dump_once(self, set_name: str) -> tuple[list[Member], bool]:
        self._sequence = self._sequence % 0x7FFFFFFF + 1
        members: list[Member] = []
        interrupted = False
        try:
            for part in dump_parts(self._sock, set_name, self._sequence):
                members += part.members
                interrupted = interrupted or part.interrupted
        except OSError as error:
            raise translate(error.errno or 0, f"reading set {set_name}") from error
        return members, interrupted

    def _drain(self) -> None:
        """Throw away what a failed transaction left in the queue."""
        try:
            while True:
                self._sock.recv(_RECEIVE, socket.MSG_DONTWAIT)
        except OSError:  # BlockingIOError: empty
            pass
