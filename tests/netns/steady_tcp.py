"""Clients that keep a TCP connection and ask on it one question after the other, as RFC 7766 has it.

Each opens another when it is closed. A question that was outstanding when its connection ended otherwise than
by a FIN is counted as lost; one that the FIN crossed, before its client could know, is asked again, as any
client does. Knows asking.py's packets.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.lab import Lab
from tests.netns.asking import packet

PATIENCE_S = 30.0


class Kept:
    """What became of one client's questions."""

    def __init__(self) -> None:
        self.answered = 0
        self.opened = 0
        self.cut: list[str] = []
        """Why a question got no answer."""
        self.crossed = 0
        self.slowest_s = 0.0


@contextmanager
def keeping(lab: Lab, names: Sequence[str], *, clients: int, per_second: float) -> Iterator[list[Kept]]:
    """So many clients, each at this rate, until the block ends; each ends with an answer."""
    ended = threading.Event()
    kept = [Kept() for _ in range(clients)]
    arguments = [(lab, names, per_second, one, ended) for one in kept]
    threads = [threading.Thread(target=_keep, args=each) for each in arguments]
    for thread in threads:
        thread.start()
    try:
        yield kept
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _keep(lab: Lab, names: Sequence[str], per_second: float, kept: Kept, ended: threading.Event) -> None:
    sock: socket.socket | None = None
    while not ended.is_set():
        began = time.monotonic()
        if sock is not None and _is_closed(sock):
            sock.close()
            sock = None
        if sock is None:
            sock = _open(lab)
            kept.opened += 1
        ident = kept.answered & 0xFFFF
        data = packet(names[kept.answered % len(names)], ident=ident)
        try:
            sock.sendall(struct.pack("!H", len(data)) + data)
            reply = _frame(sock)
        except EOFError:
            kept.crossed += 1
            sock.close()
            sock = None
            continue
        except OSError as error:
            kept.cut.append(repr(error))
            sock.close()
            sock = None
            continue
        assert reply[:2] == data[:2]
        kept.answered += 1
        kept.slowest_s = max(kept.slowest_s, time.monotonic() - began)
        ended.wait(max(0.0, began + 1 / per_second - time.monotonic()))
    if sock is not None:
        sock.close()


def _open(lab: Lab) -> socket.socket:
    with lab.host.entered():
        sock = socket.socket()
    sock.settimeout(PATIENCE_S)
    sock.connect(("127.0.0.1", 53))
    return sock


def _is_closed(sock: socket.socket) -> bool:
    """Whether the other side has said that it is over: a client looks before it asks."""
    return bool(select.select([sock], [], [], 0)[0])  # no reply is outstanding


def _frame(sock: socket.socket) -> bytes:
    data = b""
    while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
        part = sock.recv(65535)
        if not part and not data:
            raise EOFError
        if not part:
            raise ConnectionError(f"closed after {len(data)} bytes of a reply")
        data += part
    return data[2:]
