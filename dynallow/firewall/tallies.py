"""What the kernel has counted, by destination, port and user: what was let through and what was denied.

Knows the four flow sets and the counter `denied`; must not know names, rules or who asks. Reading is
blocking, for a thread; through a socket of its own. A set is read a datagram at a time, some 300 flows, and
gone through in parts, so that the loop's thread has its turn in between.

Keeps: what a read tells was not told before, by this object or by the one whose `marks` it was given
(`told.py`); what a look passes over, because the set changes under it, a later one tells.
"""

from __future__ import annotations

import errno
import hashlib
import socket
import sys
import time
from pathlib import Path
from typing import Final, NamedTuple

from dynallow.errors import KernelError, TableMissingError
from dynallow.firewall.counted import KEY_SIZES, flow_of, parse_flows
from dynallow.firewall.netlink import open_socket, translate
from dynallow.firewall.present import read_denied, read_handles
from dynallow.firewall.readback import dump_request
from dynallow.firewall.ruleset import DENIED_FLOWS, USED_FLOWS, Family, set_name
from dynallow.firewall.told import Epoch, Seen, unpack

_RECEIVE = 65536
_SEQUENCE_AT = 8  # in a message's header
_TRIES = 5
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_FAMILIES: tuple[Family, ...] = (4, 6)
SETS: Final[tuple[tuple[str, Family, bool], ...]] = tuple(
    (set_name(name, family), family, denied)
    for name, denied in ((USED_FLOWS, False), (DENIED_FLOWS, True))
    for family in _FAMILIES
)
"""Name, family, and whether it is of denied packets."""


class Tally(NamedTuple):
    """Packets that were counted since the last read."""

    denied: bool
    address: bytes
    """The destination, packed."""
    protocol: int
    """IP's number; 255 where the kernel cannot tell it."""
    port: int
    """0 of what has none (it has one: TCP, UDP, DCCP, SCTP, UDP-Lite), and where it cannot be told."""
    uid: int | None
    """None: no socket, or the kernel's own."""
    packets: int
    octets: int


class _Looked(NamedTuple):
    """What a dump of a set told, and whether that is all there was."""

    seen: list[Seen]
    whole: bool


class Tallies:
    """What is new since the last read. Not for two threads at once.

    What was told already is known by `marks`: whoever keeps records for longer than this process lives keeps
    the marks with them, in the same transaction, and hands them to the next one. Without marks, or with some
    of another boot, the first read tells all that the kernel has counted: that is right where there are no
    records either.
    """

    def __init__(self, marks: bytes = b"", boot: str = "") -> None:
        """`boot`: a sign of this boot, for where the system tells none (the unit's ProcSubset=pid)."""
        self._boot = _boot_id(boot)
        self._told = unpack(marks, self._boot, {name: KEY_SIZES[family] for name, family, _ in SETS})
        self._socket: socket.socket | None = None
        self._sequence = 0

    def read(self) -> list[Tally]:
        """What was counted since the last read. Blocking. Raises KernelError; nothing has been told
        then, the next one does.

        Empty from a kernel that does not count flows.
        """
        began = time.monotonic()
        try:
            looked, handles = self._look()
        except OSError as error:
            self.close()
            raise translate(error.errno or 0, "reading what was counted") from error
        except KernelError:
            self.close()
            raise
        self._told.look()
        tallies = []
        for name, _, denied in SETS:
            if name in looked:
                new = self._new(name, looked[name].seen, handles[name])
                self._told.forget(name, began, whole=looked[name].whole)
                tallies += [Tally(denied, *flow_of(key), *counts) for key, counts in new.items()]
        return tallies

    def total(self) -> int:
        """Denied packets in all, exact: also those for which there was no room. Raises KernelError.

        Of this table, and of earlier ones since these marks were begun, as far as it was looked at them.
        """
        return self._told.total(read_denied()[0])

    def marks(self) -> bytes:
        """What was told up to the last read, for the next agent's `Tallies`: some 60 bytes a flow."""
        return self._told.pack(self._boot)

    def close(self) -> None:
        """Let go of the socket; the next read opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # ------------------------------------------------------------ the sets

    def _look(self) -> tuple[dict[str, _Looked], dict[str, Epoch]]:
        """The elements of those sets that are there, all of one table."""
        for _ in range(_TRIES):
            handles = read_handles()
            try:
                found = {
                    name: self._dump(name, KEY_SIZES[family]) for name, family, _ in SETS if name in handles
                }
            except TableMissingError:
                continue  # made anew meanwhile, or gone: then there are no handles
            now = read_handles()
            if all(now.get(name) == handles[name] for name in found):
                return found, handles
        raise KernelError("reading what was counted: the table changes all the time", errno=errno.EAGAIN)

    def _new(self, name: str, looked: list[Seen], epoch: Epoch) -> dict[bytes, tuple[int, int]]:
        """Packets and octets by key."""
        new: dict[bytes, tuple[int, int]] = {}
        for seen in looked:
            for key, packets, octets in self._told.take(name, seen, epoch):
                before = new.get(key, (0, 0))
                new[key] = before[0] + packets, before[1] + octets
            time.sleep(0)  # lets other threads have the interpreter
        return new

    def _dump(self, name: str, size: int) -> _Looked:
        """Every element; of a set that changes, a later look makes good what this one passes over.

        The kernel makes a datagram while it hands out the one before, the first within `send`; for the next
        it begins at the set's start again, and counts up to where it was. So only what one datagram takes is
        whole for certain.
        """
        seen: list[Seen] = []
        sock = self._socket = self._socket or open_socket()
        self._sequence = self._sequence % 0x7FFFFFFF + 1
        after = time.monotonic()
        sock.send(dump_request(name, self._sequence))
        while True:
            called = time.monotonic()
            datagram = sock.recv(_RECEIVE)
            before = time.monotonic()
            if int.from_bytes(datagram[_SEQUENCE_AT : _SEQUENCE_AT + 4], sys.byteorder) != self._sequence:
                continue  # of an earlier request: its end is not this one's
            part = parse_flows(datagram, size)
            if part.errno:
                raise translate(part.errno, f"reading set {name}")
            if part.flows:
                seen.append(Seen(part.flows, after, before))
            if part.done:
                return _Looked(seen, len(seen) < 2)
            after = called


def _boot_id(otherwise: str) -> bytes:
    """Marks of another boot say nothing: neither clock nor counters go on. Empty where nothing tells it."""
    try:
        return bytes.fromhex(_BOOT_ID.read_text().strip().replace("-", ""))
    except (OSError, ValueError):
        return hashlib.blake2s(otherwise.encode(), digest_size=16).digest() if otherwise else b""
