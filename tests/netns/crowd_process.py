"""A crowd of clients: `python -m tests.netns.crowd_process COUNT PORTS PACE`, in the agent's host.

COUNT TCP connections to 127.0.0.1 and ::1, of which a third says nothing, a third
sends one byte a second, and a third asks for large answers without reading one;
whoever is cut connects anew. Meanwhile PORTS questions over UDP, each from an
address and port of its own, PACE a second. Then it goes on until stdin closes.

Says on stdout {"connected": …} when all have connected once, {"answered": …} when
all ports have asked, and at the end {"cut": …}, a JSON object a line.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from contextlib import suppress

from tests.netns.asking import V4, V6, packet

HOT, LARGE = "good.example.org", "many200.example.org"
_ENDS = {V4: socket.AF_INET, V6: socket.AF_INET6}
_FIRST_PORT, _PORTS_AN_ADDRESS = 2000, 60_000
_BATCH = 100
_ANSWER_WITHIN_S = 10.0  # so late only where the machine is more than busy


def frame(data: bytes) -> bytes:
    return struct.pack("!H", len(data)) + data


class Crowd:
    """All of them, in one loop."""

    def __init__(self, count: int) -> None:
        self.cut = 0
        self.connected = 0
        self.count = count

    async def member(self, number: int) -> None:
        """One of them, over and over."""
        server = V6 if number % 2 else V4
        behave = (self.idle, self.drip, self.never_read)[number % 3]
        first = True
        while True:
            sock = socket.socket(_ENDS[server])
            sock.setblocking(False)
            with sock, suppress(OSError):
                await asyncio.get_running_loop().sock_connect(sock, (server, 53))
                self.connected += first
                first = False
                await behave(sock)
            self.cut += 1
            await asyncio.sleep(0.1)  # whoever is cut takes a moment to come again

    async def idle(self, sock: socket.socket) -> None:
        await asyncio.get_running_loop().sock_recv(sock, 1)

    async def drip(self, sock: socket.socket) -> None:
        ended = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(sock, 1))
        try:
            for byte in frame(packet(HOT)):
                sock.send(bytes((byte,)))
                await asyncio.wait([ended], timeout=1.0)
                if ended.done():
                    return
        finally:
            ended.cancel()

    async def never_read(self, sock: socket.socket) -> None:
        # Else the kernel would take megabytes of questions before one has to wait.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        questions = frame(packet(LARGE)) * 100
        while True:
            await asyncio.get_running_loop().sock_sendall(sock, questions)


async def from_many_ports(ports: int, pace: int) -> int:
    """How many of them got an answer."""
    answered = 0
    loop = asyncio.get_running_loop()
    began = loop.time()
    for done in range(0, ports, _BATCH):
        sockets = []
        for number in range(done, min(done + _BATCH, ports)):
            place, offset = divmod(number, _PORTS_AN_ADDRESS)
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setblocking(False)
            sock.bind((f"127.0.1.{place + 1}", _FIRST_PORT + offset))
            sock.connect((V4, 53))
            sock.send(packet(HOT))
            sockets.append(sock)
        for sock in sockets:
            with sock, suppress(TimeoutError):
                async with asyncio.timeout(_ANSWER_WITHIN_S):
                    answered += len(await loop.sock_recv(sock, 512)) > 12
        await asyncio.sleep(began + (done + _BATCH) / pace - loop.time())
    return answered


def say(**what: int) -> None:
    print(json.dumps(what), flush=True)


async def run(count: int, ports: int, pace: int) -> None:
    crowd = Crowd(count)
    members = [asyncio.ensure_future(crowd.member(number)) for number in range(count)]
    while crowd.connected < count:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    say(connected=crowd.connected)
    say(answered=await from_many_ports(ports, pace))
    await asyncio.to_thread(sys.stdin.read)
    for member in members:
        member.cancel()
    await asyncio.gather(*members, return_exceptions=True)
    say(cut=crowd.cut)


if __name__ == "__main__":
    asyncio.run(run(*map(int, sys.argv[1:4])))
