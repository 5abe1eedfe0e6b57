"""What the service manager is told: sd_notify(3), by hand, because it is a datagram.

Floor 0: knows the protocol alone. Keeps: nothing here fails or waits (a manager that does not read must
not hold up answers), and children do not inherit the address.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import MutableMapping

log = logging.getLogger(__name__)

_ADDRESS, _PERIOD, _WATCHED = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"


class Notifier:
    """Messages to the socket that NOTIFY_SOCKET names; without one, to nobody."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        address = environ.pop(_ADDRESS, "")
        period, watched = environ.pop(_PERIOD, ""), environ.pop(_WATCHED, str(os.getpid()))
        mine = bool(address) and watched == str(os.getpid()) and period.isascii() and period.isdigit()
        self.watchdog_s = int(period) / 1e6 if mine else 0.0
        """The manager ends this process when it hears no `beat` for so long; 0: it does not watch."""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._sock: socket.socket | None = None
        if self._address.startswith(("/", "\0")):
            kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._sock = socket.socket(socket.AF_UNIX, kind)

    def ready(self, status: str) -> None:
        """Started, or done with a reload."""
        self._tell("READY=1", _status(status))

    def reloading(self) -> None:
        """A reload begins; `ready` ends it, whatever came of it."""
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now_us}")

    def stopping(self) -> None:
        """The end has begun."""
        self._tell("STOPPING=1", _status("stopping; the table stays in force"))

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self._tell(_status(status))

    def beat(self) -> None:
        """All is well."""
        self._tell("WATCHDOG=1")

    def close(self) -> None:
        """Tell nothing more."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _tell(self, *lines: str) -> None:
        if self._sock is None:
            return
        try:
            self._sock.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.warning("the service manager cannot be told %s: %s", lines[0], error)


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split())
