"""One agent a network namespace.

The lock is an NFLOG group of its own, to which no rule logs: the kernel gives
a group to one netlink socket, only to one with CAP_NET_ADMIN, per network
namespace as the table is, and frees it with its process. A file or a unix
socket would do one or two of these four.
"""

from __future__ import annotations

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

    Raises DynallowError when another agent does. Where the kernel has no NFLOG
    there is no lock, and a warning.
    """
    sock = open_socket()
    attribute = struct.pack("=HHBxxx", 5, _CFG_CMD, _CMD_BIND)
    body = struct.pack(">BBH", socket.AF_UNSPEC, 0, _GROUP) + attribute
    sock.send(struct.pack("=IHHII", 16 + len(body), _CONFIG, _F_REQUEST | _F_ACK, 1, 0) + body)
    refused = next((number for _, number in acknowledgements(sock.recv(4096))), 0)
    if not refused:
        return sock
    holder = _holder()
    if holder is not None:
        sock.close()
        raise DynallowError(
            f"another agent (pid {holder}) owns table inet dynallow",
            "stop it first; `dynallow status` shows it",
        )
    # No privilege (the next step says so, and better), or no NFLOG in this kernel.
    log.debug("no lock on the table: error %d", refused)
    return sock


def _holder() -> int | None:
    """The netlink port that holds the group; the kernel makes it the pid of a process's first socket."""
    try:
        lines = _HOLDERS.read_text().splitlines()
    except OSError:
        return None
    held = {int(words[0]): int(words[1]) for line in lines if len(words := line.split()) > 1}
    return held.get(_GROUP)
