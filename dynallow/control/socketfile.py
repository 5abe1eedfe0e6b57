"""The control socket's file: made with the right rights, never stolen, taken away again.

Knows unix sockets and file rights. Must not know HTTP. Keeps: there is no
moment at which the file has wider rights than it ends with, no live agent's
socket is replaced, and nothing but a socket is ever removed.
"""

from __future__ import annotations

import errno
import grp
import logging
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from dynallow.errors import DynallowError

GROUP = "dynallow"
_BACKLOG = 16
_PROBE_TIMEOUT_S = 1.0
_OWNER_ONLY = 0o600
_OWNER_AND_GROUP = 0o660

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ControlSocket:
    """A listening socket and the file that it stands under."""

    sock: socket.socket
    path: Path
    device: int
    inode: int

    def remove_file(self) -> None:
        """Remove the file, unless another agent has put its own there meanwhile."""
        try:
            found = self.path.lstat()
            if (found.st_dev, found.st_ino) == (self.device, self.inode):
                self.path.unlink()
        except FileNotFoundError:
            pass


def bind(path: Path, group: str = GROUP) -> ControlSocket:
    """Listen at `path`, 0660 and owned by `group` where that group exists.

    Raises DynallowError when another agent answers there, when something else
    than a socket stands there, or when the system refuses.
    """
    try:
        _make_parent(path)
        _clear_stale(path)
        return _bind(path, group)
    except OSError as error:
        raise DynallowError(
            f"cannot listen on the control socket {path}: {error.strerror or error}",
            hint="control.socket in the settings names it; its directory must be writable for the agent",
        ) from error


def _make_parent(path: Path) -> None:
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o755)  # mkdir's mode goes through the umask, and the group must get in


def _clear_stale(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise DynallowError(
            f"cannot listen on the control socket {path}: another kind of file stands there",
            hint="move that file away, or set control.socket to another path",
        )
    if _answers(path):
        raise DynallowError(
            f"another agent answers on the control socket {path}",
            hint="stop it first (systemctl stop dynallow), or set control.socket to another path",
        )
    path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except (TimeoutError, BlockingIOError):
            return True  # somebody listens, with a full backlog
    return True


def _bind(path: Path, group: str) -> ControlSocket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        # bind() makes the file with the umask's rights: owner only until the
        # group is right. Nobody can connect before listen() in any case.
        before = os.umask(0o777 & ~_OWNER_ONLY)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        _hand_to_group(path, group)
        made = path.lstat()
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return ControlSocket(sock, path, made.st_dev, made.st_ino)


def _hand_to_group(path: Path, group: str) -> None:
    try:
        wanted = grp.getgrnam(group).gr_gid
        if path.lstat().st_gid != wanted:  # else not even asked for: a seccomp filter may refuse it
            os.chown(path, -1, wanted)
    except KeyError:
        pass  # no such group on this host: the agent's own group keeps the file
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        # Not a member of it: opening the file to the agent's own group instead
        # would let in people whom nobody named.
        log.warning("control socket stays with its owner: cannot give it to group %s", group)
        return
    path.chmod(_OWNER_AND_GROUP)
