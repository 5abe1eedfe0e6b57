"""One agent a network namespace.

An abstract unix socket is the lock: like the table it belongs to the network
namespace, and it goes with its process. Any user may bind one, so who holds
it is looked at: only root's or our own user's counts.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct

from dynallow.errors import DynallowError

log = logging.getLogger(__name__)

_NAME = "\0dynallow-table"


def lock_table() -> socket.socket:
    """Hold the returned socket as long as the table is ours. Raises DynallowError when another agent does."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.bind(_NAME)
        sock.listen(1)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            sock.close()
            raise
        holder = _holder(sock)
        if holder is not None and holder[1] not in (0, os.geteuid()):
            log.warning("pid %d of uid %d holds dynallow's lock without being an agent", *holder)
        else:
            sock.close()
            who = f"pid {holder[0]}" if holder is not None else "another process"
            raise DynallowError(
                f"another agent ({who}) owns table inet dynallow", "stop it first; `dynallow status` shows it"
            ) from error
    return sock


def _holder(sock: socket.socket) -> tuple[int, int] | None:
    """(pid, uid) of whoever listens on the name; None when it cannot be told."""
    try:
        sock.connect(_NAME)
        pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    except OSError:
        return None
    return pid, uid
