"""Traffic that runs beside a test: `python -m tests.netns.traffic_process connect|forbidden ADDRESS…`.

`connect` opens connections and sends datagrams to ADDRESS, which must work;
`forbidden` sends to ADDRESS, which must not get out. Ends when stdin closes,
and says on stdout what happened: {"tries", "failed", "first": [[when, address, what]]}.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

_NO_LINGER = struct.pack("ii", 1, 0)
_SHOWN = 20
_REPLY_S = 20.0
_PACE_S = 0.001  # between rounds: two cores are shared by everything in the lab


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def connect(address: str) -> None:
    """A new connection, closed by RST, and a datagram that is echoed."""
    with socket.socket(family_of(address), socket.SOCK_STREAM) as sock:
        sock.settimeout(_REPLY_S)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        sock.connect((address, 443))
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as sock:
        sock.settimeout(_REPLY_S)
        sock.connect((address, 443))
        sock.send(b"echo")
        if sock.recv(16) != b"echo":
            raise OSError("no echo")


def forbidden(address: str) -> None:
    """A datagram, a SYN, and a question to a server that is not dynallow; whatever comes of them."""
    for port in (443, 853):
        with socket.socket(family_of(address), socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            _try(sock.sendto, b"forbidden", (address, port))
    with socket.socket(family_of(address), socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        _try(sock.connect, (address, 443))


def _try(action: Callable[..., object], *arguments: object) -> None:
    try:
        action(*arguments)
    except OSError:
        return


def main() -> None:
    kind, addresses = sys.argv[1], sys.argv[2:]
    action = connect if kind == "connect" else forbidden
    tries = failed = 0
    first: list[list[Any]] = []
    print("ready", flush=True)
    over = False
    while not over:  # one round at least, however soon it is to end
        for address in addresses:
            tries += 1
            try:
                action(address)
            except OSError as error:
                failed += 1
                if len(first) < _SHOWN:
                    first.append([time.time(), address, repr(error)])
        over = bool(select.select([0], [], [], _PACE_S)[0])
    print(json.dumps({"tries": tries, "failed": failed, "first": first}))


if __name__ == "__main__":
    main()
