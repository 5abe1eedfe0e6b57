"""The ear of a service manager: a socket that `sd_notify` messages come to, with the time of each.

Knows the protocol of sd_notify(3). Must not import dynallow.
"""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path
from typing import NamedTuple

from tests.lab.waiting import wait_until


class Message(NamedTuple):
    """One datagram, and when it was read (monotonic seconds)."""

    at: float
    fields: dict[str, str]


class Manager:
    """Hear what an agent that was started with `environment` tells."""

    def __init__(self, directory: Path, watchdog_s: float = 0) -> None:
        self.messages: list[Message] = []
        path = directory / "notify"
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.setblocking(False)
        self._sock.bind(str(path))
        path.chmod(0o666)  # whoever the agent runs as
        self.environment = {"NOTIFY_SOCKET": str(path)}
        if watchdog_s:
            self.environment["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))

    def close(self) -> None:
        self._sock.close()

    def hear(self) -> list[Message]:
        """Everything that came until now."""
        with contextlib.suppress(BlockingIOError):
            while True:
                text = self._sock.recv(4096).decode()
                fields = dict(line.split("=", 1) for line in text.split("\n"))
                self.messages.append(Message(time.monotonic(), fields))
        return self.messages

    def forget(self) -> None:
        """All that came until now."""
        self.hear()
        self.messages.clear()

    def all_of(self, key: str) -> list[str]:
        """The values of a field, in order."""
        return [message.fields[key] for message in self.hear() if key in message.fields]

    def wait_for(self, key: str, value: str | None = None, within_s: float = 60.0) -> None:
        """Return once a message has that field (with that value)."""
        wait_until(
            lambda: [found for found in self.all_of(key) if value in (None, found)],
            f"{key}={value or '…'} of the agent (it said {self.messages})",
            within_s,
        )
