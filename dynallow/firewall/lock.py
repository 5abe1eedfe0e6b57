"""One agent a network namespace.

The lock is an NFLOG group of its own, to which no rule logs: the kernel gives
a group to one netlink socket, only to one with CAP_NET_ADMIN, per network
namespace as the table is, and frees it with its process. A file or a unix
socket would do one or two of these four.
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
from pathlib import Path

from dynallow.errors import DynallowError
from dynallow.firewall.elements import acknowledgements
from dynallow.firewall.netlink import open_socket

log = logging.getLogger(__name__)

_GROUP = 0x6479  # "dy"
_HOLDERS = Path("/proc/self/net/netfilter/nfnetlink_log")
_CONFIG = (4 << 8) | 1  # NFNL_SUBSYS_ULOG, NFULNL_MSG_CONFIG
_F_REQUEST, _F_ACK = 0x1, 0x4
_CFG_CMD, _CMD_BIND = 1, 1


def lock_table() -> socket.socket:
    """Hold the returned socket as long as the table is ours.

    Raises DynallowError when another agent does. A kernel without NFLOG has no
    lock to give; then there is none.
    """
    sock = open_socket()
    refused = _bind(sock, _GROUP)
    # The kernel says EPERM for "taken" and for "no privilege"; of the latter the next step
    # tells, and better. Who may have another group is not without privilege.
    if refused == errno.EPERM and not _bind(sock, _GROUP + 1):
        sock.close()
        raise DynallowError(
            f"another agent ({_holder()}) owns table inet dynallow",
            "stop it first; `dynallow status` shows it",
        )
    if refused:
        log.debug("no lock on the table: error %d", refused)
    return sock


def _bind(sock: socket.socket, group: int) -> int:
    """Ask for a group; 0, or the error."""
    attribute = struct.pack("=HHBxxx", 5, _CFG_CMD, _CMD_BIND)
    body = struct.pack(">BBH", socket.AF_UNSPEC, 0, group) + attribute
    sock.send(struct.pack("=IHHII", 16 + len(body), _CONFIG, _F_REQUEST | _F_ACK, 1, 0) + body)
    return next((number for _, number in acknowledgements(sock.recv(4096))), 0)


def _holder() -> str:
    """Who holds the group: by its netlink port, which is the pid of a process's first socket.

    Only root may look.
    """
    try:
        lines = _HOLDERS.read_text().splitlines()
    except OSError:
        return "its pid is for root to see"
    held = {int(words[0]): int(words[1]) for line in lines if len(words := line.split()) > 1}
    return f"pid {held.get(_GROUP, 0)}"
