"""The process of a scripted name server: `python -m tests.lab.scripted_process CONFIG`.

Knows sockets and one scenario. One epoll loop, no asyncio: a plain `fresh`
scenario must keep up with a benchmark. Invariant: a question is counted
before anything is sent in reply, so that a test that has the answer also
sees the count. A scenario that raises costs its question a SERVFAIL, and is in
the log: whoever asks next must not find the server gone.
"""

from __future__ import annotations

import heapq
import importlib
import json
import selectors
import socket
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab import dnsbytes
from tests.lab.scenarios import Send

_DRAIN = 64  # datagrams read from one socket before the others get a turn
_BUFFER = 8 << 20


class Server:
    def __init__(self, config: dict[str, Any]) -> None:
        module, _, function = config["scenario"].partition(":")
        self.scenario = getattr(importlib.import_module(module), function)
        self.knobs: dict[str, Any] = config["knobs"]
        self.counts: Counter[tuple[bytes, int, str]] = Counter()
        self.serial = 0
        self.selector = selectors.EpollSelector()
        self.later: list[tuple[float, int, Callable[[], None]]] = []
        self.spoofers: dict[tuple[str, int], socket.socket] = {}
        for address in config["addresses"]:
            self._listen(address, config["port"])
        self._open_control(config["control"])

    def run(self) -> None:
        while True:
            wait_s = max(0.0, self.later[0][0] - time.monotonic()) if self.later else None
            for key, _ in self.selector.select(wait_s):
                key.data(key.fileobj)
            while self.later and self.later[0][0] <= time.monotonic():
                heapq.heappop(self.later)[2]()

    # -- sockets ----------------------------------------------------------

    def _listen(self, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        udp.bind((address, port))
        tcp = socket.create_server((address, port), family=family, backlog=1024)
        for sock, handler in ((udp, self._read_udp), (tcp, self._accept)):
            sock.setblocking(False)
            self.selector.register(sock, selectors.EVENT_READ, handler)

    def _open_control(self, path: str) -> None:
        control = socket.socket(socket.AF_UNIX)
        control.bind(path)
        control.listen(8)
        self.selector.register(control, selectors.EVENT_READ, self._serve_control)

    def _read_udp(self, sock: socket.socket) -> None:
        here = sock.getsockname()[:2]
        for _ in range(_DRAIN):
            try:
                data, client = sock.recvfrom(65535)
            except BlockingIOError:
                return
            query = self._count(data, "udp", client[:2], here)
            if query is not None:
                for send in self._react(query):
                    self._schedule(send, lambda s=send, c=client: self._send_udp(sock, s, c))  # type: ignore[misc]

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.setblocking(True)
        buffer = bytearray()
        self.selector.register(connection, selectors.EVENT_READ, lambda sock: self._read_tcp(sock, buffer))

    def _read_tcp(self, sock: socket.socket, buffer: bytearray) -> None:
        try:
            data = sock.recv(65535)
        except OSError:
            data = b""
        if not data:
            self._drop(sock)
            return
        buffer += data
        while len(buffer) >= 2 and len(buffer) >= 2 + (size := int.from_bytes(buffer[:2], "big")):
            message = bytes(buffer[2 : 2 + size])
            del buffer[: 2 + size]
            query = self._count(message, "tcp", sock.getpeername()[:2], sock.getsockname()[:2])
            if query is not None:
                for send in self._react(query):
                    self._schedule(send, lambda s=send: self._send_tcp(sock, s))  # type: ignore[misc]

    def _drop(self, sock: socket.socket) -> None:
        if sock.fileno() >= 0:
            self.selector.unregister(sock)
            sock.close()

    # -- question and reaction --------------------------------------------

    def _count(
        self, data: bytes, transport: str, client: tuple[str, int], server: tuple[str, int]
    ) -> dnsbytes.Query | None:
        end = 12
        while end < len(data) and data[end]:
            end += 1 + data[end]
        if end + 5 > len(data):
            return None
        qname, qtype = data[12 : end + 1], int.from_bytes(data[end + 1 : end + 3], "big")
        self.counts[(qname.lower(), qtype, transport)] += 1
        self.serial += 1
        return dnsbytes.Query(data, qname, qtype, transport, client, server, self.serial - 1)

    def _react(self, query: dnsbytes.Query) -> list[Send]:
        try:
            reaction = self.scenario(query, self.knobs)
        except Exception:
            print(
                f"the scenario failed for {query.text}:\n{traceback.format_exc()}",
                file=sys.stderr,
                flush=True,
            )
            reaction = dnsbytes.reply(query, rcode=dnsbytes.SERVFAIL)
        if reaction is None:
            return []
        if isinstance(reaction, bytes | Send):
            reaction = [reaction]
        return [Send(each) if isinstance(each, bytes) else each for each in reaction]

    def _schedule(self, send: Send, action: Callable[[], None]) -> None:
        if send.delay_s <= 0:
            action()
        else:
            heapq.heappush(self.later, (time.monotonic() + send.delay_s, id(action), action))

    def _send_udp(self, sock: socket.socket, send: Send, client: Any) -> None:
        if send.source is not None:
            sock = self._spoofer(sock.family, send.source)
        sock.sendto(send.data, client)

    def _spoofer(self, family: int, source: tuple[str, int]) -> socket.socket:
        """A socket that speaks from `source`: in the lab's internet every address is local."""
        if source not in self.spoofers:
            self.spoofers[source] = socket.socket(family, socket.SOCK_DGRAM)
            self.spoofers[source].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.spoofers[source].bind(source)
        return self.spoofers[source]

    def _send_tcp(self, sock: socket.socket, send: Send) -> None:
        frame = len(send.data).to_bytes(2, "big") if send.framed else b""
        try:
            sock.sendall(frame + send.data)
        except OSError:
            self._drop(sock)
            return
        if send.close:
            self._drop(sock)

    # -- control ----------------------------------------------------------

    def _serve_control(self, listener: socket.socket) -> None:
        """One JSON line in, one out: {"knobs": {…}} changes them, {"reset": true} forgets the counts."""
        connection, _ = listener.accept()
        with connection, connection.makefile("rw") as stream:
            request = json.loads(stream.readline())
            self.knobs |= request.get("knobs", {})
            if request.get("reset"):
                self.counts.clear()
            counted = [
                [dnsbytes.text(qname), dnsbytes.TYPES.get(qtype, f"TYPE{qtype}"), transport, count]
                for (qname, qtype, transport), count in self.counts.items()
            ]
            stream.write(json.dumps(counted) + "\n")


def main() -> None:
    Server(json.loads(Path(sys.argv[1]).read_text())).run()


if __name__ == "__main__":
    main()
