"""Another process on the host: `python -m tests.netns.visitor_process`, told by lines on stdin.

Knows sockets and glibc's resolver; must not know what should succeed. For
each line in, one JSON line out:

    visit ADDRESS PORT          → {"tcp": "ok", "udp": "ok"}, or the error's name
    probe SECONDS PORT ADDRESS… → the same for each address, side by side; "silence" after SECONDS
    resolve NAME PORT           → addresses by getaddrinfo
"""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import sys

_WITHIN_S = 20.0
_SIDE_BY_SIDE = 256
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def visit(address: str, port: int) -> dict[str, str]:
    """An echo by TCP and one by UDP, blocking: nothing comes between the line and the SYN."""
    return {way: _echo(address, port, kind) for way, kind in _KINDS.items()}


def _echo(address: str, port: int, kind: socket.SocketKind) -> str:
    with _socket(address, kind) as sock:
        sock.settimeout(_WITHIN_S)
        try:
            sock.connect((address, port))
            sock.sendall(b"?")
            return "ok" if sock.recv(1) == b"?" else "wrong"
        except OSError as error:
            return _name(error)


async def probe(within_s: float, port: int, addresses: list[str]) -> list[dict[str, str]]:
    """As `visit`, many at a time: a refusal may be slow, or silent."""
    room = asyncio.Semaphore(_SIDE_BY_SIDE)
    results = await asyncio.gather(
        *(_try(room, within_s, address, port, kind) for address in addresses for kind in _KINDS.values())
    )
    return [dict(zip(_KINDS, results[at : at + 2], strict=True)) for at in range(0, len(results), 2)]


async def _try(
    room: asyncio.Semaphore, within_s: float, address: str, port: int, kind: socket.SocketKind
) -> str:
    loop = asyncio.get_running_loop()
    async with room:
        with _socket(address, kind) as sock:
            sock.setblocking(False)
            try:
                async with asyncio.timeout(within_s):
                    await loop.sock_connect(sock, (address, port))
                    await loop.sock_sendall(sock, b"?")
                    return "ok" if await loop.sock_recv(sock, 1) == b"?" else "wrong"
            except (OSError, TimeoutError) as error:
                return _name(error)


def resolve(name: str, port: int) -> list[str]:
    """What getaddrinfo gives, through resolv.conf."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return sorted({str(sockaddr[0]) for *_, sockaddr in found})


def _socket(address: str, kind: socket.SocketKind) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)


def _name(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "silence"
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


def main() -> None:
    for line in sys.stdin:
        verb, *words = line.split()
        result: object
        if verb == "visit":
            result = visit(words[0], int(words[1]))
        elif verb == "probe":
            result = asyncio.run(probe(float(words[0]), int(words[1]), words[2:]))
        else:
            result = resolve(words[0], int(words[1]))
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
