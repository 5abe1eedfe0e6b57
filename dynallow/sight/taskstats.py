"""Whose a process is and what it is called, where /proc does not show it (ProtectProc=invisible).

By generic netlink, family TASKSTATS, which asks for CAP_NET_ADMIN and nothing else: what the agent has.
Blocking, some 10 µs a question, for a thread. Knows netlink's framing; must not know what is done with it.
Keeps: what cannot be known is None, and nothing is raised.
Layout: include/uapi/linux/taskstats.h, which promises that fields keep their places.
"""

from __future__ import annotations

import logging
import socket
import struct
from typing import Final

from dynallow.firewall.listing import attributes, open_to_ask

log = logging.getLogger(__name__)

_GENERIC, _CONTROL = 16, 16  # NETLINK_GENERIC, GENL_ID_CTRL
_GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 3, 1, 2
_GET, _BY_PID, _WITH_PID, _STATS = 1, 1, 4, 3  # TASKSTATS_CMD_GET, _CMD_ATTR_PID, _TYPE_AGGR_PID, _TYPE_STATS
_HEADER = struct.Struct("=IHHII")
_GENERIC_HEADER = struct.Struct("=BBH")
_BODY: Final = 20
_F_REQUEST: Final = 0x1
_NLMSG_ERROR: Final = 2
_NAME_AT, _NAME_SIZE, _UID_AT = 80, 32, 120
_RECEIVE: Final = 8192
_PATIENCE_S: Final = 0.2


class Taskstats:
    """A socket to ask by. Not for two threads at once."""

    def __init__(self) -> None:
        """Opens nothing yet."""
        self._sock: socket.socket | None = None
        self._family: int | None = None
        self._absent = False

    def close(self) -> None:
        """Ask nothing more, until the next question."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def of(self, pid: int) -> tuple[int, str] | None:
        """(uid, name as the kernel has it) of a process of our own PID namespace."""
        if self._absent:
            return None
        try:
            if self._sock is None:
                self._sock = open_to_ask(_GENERIC, _PATIENCE_S)
            if self._family is None:
                self._family = _family(self._sock)
                if self._family is None:  # CONFIG_TASKSTATS is off
                    self._absent = True
                    return None
            answer = _ask(self._sock, self._family, _GET, _attribute(_BY_PID, struct.pack("=I", pid)))
        except OSError as error:
            log.debug("taskstats: %s", error)
            self.close()
            return None
        stats = attributes(attributes(answer or b"", _BODY).get(_WITH_PID, b"")).get(_STATS, b"")
        if len(stats) < _UID_AT + 4:
            return None
        name = stats[_NAME_AT : _NAME_AT + _NAME_SIZE].partition(b"\0")[0]
        return struct.unpack_from("=I", stats, _UID_AT)[0], name.decode(errors="replace")


def _family(sock: socket.socket) -> int | None:
    answer = _ask(sock, _CONTROL, _GET_FAMILY, _attribute(_FAMILY_NAME, b"TASKSTATS\0"))
    number = attributes(answer or b"", _BODY).get(_FAMILY_ID, b"")
    return struct.unpack("=H", number)[0] if len(number) == 2 else None


def _ask(sock: socket.socket, family: int, command: int, attribute: bytes) -> bytes | None:
    """The answer; None when it is a refusal."""
    body = _GENERIC_HEADER.pack(command, 1, 0) + attribute
    sock.send(_HEADER.pack(16 + len(body), family, _F_REQUEST, 1, 0) + body)
    answer = sock.recv(_RECEIVE)
    if len(answer) < _BODY or _HEADER.unpack_from(answer)[1] == _NLMSG_ERROR:
        return None
    return answer


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
