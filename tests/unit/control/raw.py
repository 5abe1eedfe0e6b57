"""HTTP by hand, for requests that no client library would send."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.body)
        return answer


def connect(path: Path, timeout_s: float = 20.0) -> socket.socket:
    """A connection to the control socket that fails instead of hanging."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout_s)
    sock.connect(str(path))
    return sock


def read_to_end(sock: socket.socket) -> bytes:
    """Everything until the peer closes; a reset counts as its end."""
    raw = bytearray()
    try:
        while chunk := sock.recv(65536):
            raw += chunk
    except ConnectionResetError:
        pass
    return bytes(raw)


def parse(raw: bytes) -> Reply:
    """A reply that ended with its connection (and was not sent in chunks)."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return Reply(int(first.split()[1]), headers, body)


def exchange(path: Path, request: bytes) -> Reply:
    """Send `request`, read the reply; a server may answer and close before it read everything."""
    with connect(path) as sock:
        try:
            sock.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return parse(read_to_end(sock))
