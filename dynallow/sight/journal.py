"""Lines to systemd's journal with fields, by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).

Knows the protocol and its socket. Must not know where lines come from. Keeps: never waits and never raises;
a line that the journal does not take (its buffer is full, it is not there) is counted and forgotten; values
cannot be taken for fields, whatever bytes are in them.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Iterable, Mapping
from typing import Final

from dynallow.usage.lines import Line, shown, text

log = logging.getLogger(__name__)

SOCKET: Final = "/run/systemd/journal/socket"
_SIZE_MAX: Final = 16 * 1024
_ADDRESSES_MAX: Final = 32
_WARNING, _NOTICE, _INFO = "4", "5", "6"
_PRIORITY: Final = {"mode": _WARNING, "revoked": _NOTICE, "reload": _NOTICE, "left-out": _NOTICE}


def fields(line: Line) -> dict[str, str]:
    """The journal's fields for it; those that would be empty are left out."""
    denied = line.decision in ("denied", "filtered")
    told = {
        "MESSAGE": text(line),
        "PRIORITY": _PRIORITY.get(line.event, _NOTICE if denied else _INFO),
        "SYSLOG_IDENTIFIER": "dynallow",
        "DYNALLOW_EVENT": line.event,
        "DYNALLOW_DECISION": line.decision,
        "DYNALLOW_MODE": line.mode,
        "DYNALLOW_WHY": line.why,
        "DYNALLOW_NAME": line.name,
        "DYNALLOW_TYPE": line.qtype,
        "DYNALLOW_ADDRESS": " ".join(line.addresses[:_ADDRESSES_MAX]),
        "DYNALLOW_PORT": line.port,
        "DYNALLOW_RULE": line.rule,
        "DYNALLOW_USER": "" if line.user is None else str(line.user),
        "DYNALLOW_PROCESS": line.process,
        "DYNALLOW_UNIT": line.unit,
        "DYNALLOW_COUNT": str(line.times),
        "DYNALLOW_ID": line.id,
    }
    return {key: value for key, value in told.items() if value}


def encode(told: Mapping[str, str]) -> bytes:
    """The datagram: KEY=value lines, and for a value that has a line's end in it the form with a length."""
    out = bytearray()
    for key, value in told.items():
        raw = value.encode(errors="backslashreplace")
        if b"\n" in raw:
            out += key.encode() + b"\n" + struct.pack("<Q", len(raw)) + raw + b"\n"
        else:
            out += key.encode() + b"=" + raw + b"\n"
    return bytes(out)


class Journal:
    """The journal's socket, where systemd runs us; else nothing."""

    def __init__(self, path: str = SOCKET, environ: Mapping[str, str] = os.environ) -> None:
        self.lost = 0
        self._path = path
        self._socket: socket.socket | None = None
        if environ.get("INVOCATION_ID") and os.path.exists(path):
            self._socket = socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            )

    @property
    def there(self) -> bool:
        """Whether there is one."""
        return self._socket is not None

    def put(self, lines: Iterable[Line]) -> None:
        """Send them, or not."""
        for line in lines:
            self._put(line)

    def _put(self, line: Line) -> None:
        if self._socket is None:
            return
        datagram = encode({key: shown(value) for key, value in fields(line).items()})
        try:
            self._socket.sendto(datagram[:_SIZE_MAX], self._path)
        except OSError as error:
            if not self.lost:
                log.warning("the journal does not take a line: %s", error.strerror)
            self.lost += 1

    def close(self) -> None:
        """No more lines."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
