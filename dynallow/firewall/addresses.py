"""The host's own addresses, kept current.

An answer that points a name at the host itself is a rebinding attack
(invariant 6). rtnetlink's multicast groups ring a bell on every change; what
the addresses are is then read anew, in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct

from dynallow.firewall.listing import attributes, list_all
from dynallow.tasks import Tasks

log = logging.getLogger(__name__)

_NETLINK_ROUTE = 0
_RTM_GETADDR, _IFA_ADDRESS, _IFA_LOCAL = 22, 1, 2
_RTMGRP_IPV4_IFADDR, _RTMGRP_IPV6_IFADDR = 0x10, 0x100


def read_addresses() -> frozenset[bytes]:
    """Every address of this network namespace, packed. Raises OSError."""
    any_family = struct.pack("=BBBBI", socket.AF_UNSPEC, 0, 0, 0, 0)  # ifaddrmsg
    found = (attributes(body, len(any_family)) for body in list_all(_NETLINK_ROUTE, _RTM_GETADDR, any_family))
    # LOCAL is the host's end of a point-to-point link, ADDRESS then the other; IPv6 has ADDRESS alone.
    return frozenset(packed for one in found if (packed := one.get(_IFA_LOCAL) or one.get(_IFA_ADDRESS)))


class HostAddresses(set[bytes]):
    """The packed addresses; `start` before use.

    A set, and no container around one: it is looked into for each address of each fresh answer.
    """

    def __init__(self, tasks: Tasks) -> None:
        super().__init__()
        self._tasks = tasks
        self._again = False
        self._reading = False
        self._bell = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, _NETLINK_ROUTE
        )
        self._bell.bind((0, _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR))

    async def start(self) -> None:
        """Read them once, then follow changes."""
        self.update(read_addresses())
        asyncio.get_running_loop().add_reader(self._bell, self._ring)

    def close(self) -> None:
        """Stop following."""
        asyncio.get_running_loop().remove_reader(self._bell)
        self._bell.close()

    def _ring(self) -> None:
        try:
            while self._bell.recv(65536):
                pass
        except OSError:  # drained; or ENOBUFS: something changed, which is all that is asked
            pass
        self._again = True
        if not self._reading:
            self._reading = True
            self._tasks.start(self._read())

    async def _read(self) -> None:
        try:
            while self._again:
                self._again = False
                there = await asyncio.to_thread(read_addresses)
                self.update(there)  # first, so that none that stays is missing for a moment
                self.intersection_update(there)
                log.debug("the host has %d addresses", len(self))
        finally:
            self._reading = False
