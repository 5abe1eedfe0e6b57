"""A client that asks at a steady rate, whatever becomes of the answers, and knows afterwards which came.

Knows asking.py's packets. A process of its own would be more exact in time; this one is exact in what
is lost.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.lab import Lab
from tests.netns.asking import packet

PATIENCE_S = 15.0


class Asked:
    """Questions by their id, and when each was answered, in monotonic seconds."""

    def __init__(self) -> None:
        self.sent: dict[int, float] = {}
        self.answered: dict[int, float] = {}

    @property
    def lost(self) -> int:
        return len(self.sent.keys() - self.answered.keys())

    @property
    def slowest_s(self) -> float:
        return max(self.answered[ident] - at for ident, at in self.sent.items() if ident in self.answered)


@contextmanager
def asking(lab: Lab, names: Sequence[str], *, per_second: int, server: str = "127.0.0.1") -> Iterator[Asked]:
    """Ask until the block ends, then wait for what is still to come; at most 65,000 questions."""
    with lab.host.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # All that waited is answered at once.
    sock.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
    sock.connect((server, 53))
    asked, ended = Asked(), threading.Event()
    thread = threading.Thread(target=_ask, args=(sock, names, per_second, asked, ended))
    thread.start()
    try:
        yield asked
    finally:
        ended.set()
        thread.join()
        sock.close()


def _ask(
    sock: socket.socket, names: Sequence[str], per_second: int, asked: Asked, ended: threading.Event
) -> None:
    began = time.monotonic()
    deadline = float("inf")
    while (now := time.monotonic()) < deadline and not (ended.is_set() and not asked.lost):
        if ended.is_set():
            deadline = min(deadline, now + PATIENCE_S)
        else:
            while len(asked.sent) < (now - began) * per_second and len(asked.sent) < 65_000:
                ident = len(asked.sent)
                sock.send(packet(names[ident % len(names)], ident=ident))
                asked.sent[ident] = time.monotonic()
        while select.select([sock], [], [], 0.001)[0]:
            asked.answered.setdefault(int.from_bytes(sock.recv(65535)[:2], "big"), time.monotonic())
