"""A TCP connection from the internet to the host, as SSH has one, and whether it still carries both ways.

Knows sockets. Both ends are this process's; the packets cross the lab's wire.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab import Lab
from tests.lab.topology import HOST

PORT = 22
PATIENCE_S = 10.0


class Session:
    """`inner` is the host's end, `outer` the client's."""

    def __init__(self, inner: socket.socket, outer: socket.socket) -> None:
        self.inner, self.outer = inner, outer

    def client_speaks(self) -> bool:
        """Whether a word of the client's reaches the host."""
        return _carries(self.outer, self.inner)

    def host_speaks(self, within_s: float = PATIENCE_S) -> bool:
        """Whether a word of the host's reaches the client."""
        self.outer.settimeout(within_s)
        return _carries(self.inner, self.outer)

    def close(self) -> None:
        self.inner.close()
        self.outer.close()


class Door:
    """A server on the host, as sshd is one."""

    def __init__(self, lab: Lab, address: str) -> None:
        self._lab, self._address = lab, address
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with lab.host.entered():
            self._listener = socket.socket(self._family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((address, PORT))
        self._listener.listen()
        self._listener.settimeout(PATIENCE_S)

    def connect(self) -> Session:
        """A new session; raises OSError where none comes about."""
        with self._lab.internet.entered():
            outer = socket.socket(self._family, socket.SOCK_STREAM)
        outer.settimeout(PATIENCE_S)
        outer.connect((self._address, PORT))
        inner, _ = self._listener.accept()
        inner.settimeout(PATIENCE_S)
        return Session(inner, outer)

    def close(self) -> None:
        self._listener.close()


@contextmanager
def doors(lab: Lab) -> Iterator[list[Door]]:
    """One for IPv4, one for IPv6."""
    opened = [Door(lab, address) for address in HOST]
    yield opened
    for door in opened:
        door.close()


def _carries(sender: socket.socket, receiver: socket.socket) -> bool:
    try:
        sender.sendall(b"word")
        return receiver.recv(16) == b"word"
    except OSError:
        return False
