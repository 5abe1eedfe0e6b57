"""The process of the web servers: `python -m tests.lab.web_process CONFIG`.

Port 80 and 443 answer any path with one line that names the Host header, the
address asked and the client; port 7 sends back what it gets, TCP and UDP.
The namespace's nft redirects every other port to 7.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

_IP_PKTINFO = 8  # <linux/in.h>; not in Python's socket module
_FIRST_BYTE_S = 30.0


async def serve_page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request, one page."""
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _FIRST_BYTE_S)
        lines = head.decode("latin-1").split("\r\n")
        host = next((line[5:].strip() for line in lines if line.lower().startswith("host:")), "-")
        here, there = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
        page = f"host={host} address={here[0]} port={here[1]} client={there[0]}\n"
        writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(page)}\r\n"
            f"Connection: close\r\n\r\n{page}".encode()
        )
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
        pass
    finally:
        writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back every byte, until the client has had enough."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def open_udp(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 7))
    sock.setblocking(False)
    return sock


def echo_datagrams(sock: socket.socket) -> None:
    """Answer from the very address that was asked (the control message carries it)."""
    while True:
        try:
            data, control, _, client = sock.recvmsg(65535, 256)
        except BlockingIOError:
            return
        try:
            sock.sendmsg([data], _reply_control(control), 0, client)
        except OSError:
            continue


def _reply_control(control: list[Any]) -> list[Any]:
    """in_pktinfo's second field is the address to send from; on reception it is the local one."""
    return [
        (
            level,
            kind,
            bytes(4) + data[4:8] + bytes(4) if kind == _IP_PKTINFO and level == 0 else data[:16] + bytes(4),
        )
        for level, kind, data in control
    ]


async def run(config: dict[str, str]) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(config["certificate"], config["key"])
    servers = []
    for address in ("0.0.0.0", "::"):
        servers += [
            await asyncio.start_server(serve_page, address, 80, backlog=1024),
            await asyncio.start_server(serve_page, address, 443, ssl=tls, backlog=1024),
            await asyncio.start_server(echo, address, 7, backlog=1024),
        ]
    loop = asyncio.get_running_loop()
    for family in (socket.AF_INET, socket.AF_INET6):
        sock = open_udp(family)
        loop.add_reader(sock, echo_datagrams, sock)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(run(json.loads(Path(sys.argv[1]).read_text())))
