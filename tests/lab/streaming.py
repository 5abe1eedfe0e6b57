"""A name server over TCP, TLS or HTTPS that behaves as a test says, in its loop or in a process.

Knows framing (RFC 7766) and HTTP/2 by h2; nothing of dynallow. `act` is what it
does with questions, and can be changed while it runs:

    answer     at once                       reverse   `hold` questions, the last one first
    silent     never                         one-each  one answer a connection, then it is closed
    slow       after `delay_s`               close     closes when it is asked
    garbage    bytes that are no message     wrong-id  an id that nobody asked with
    wrong-name answers another question      STATUS    this HTTP status
    html       another content type          refuse    resets the stream as not looked at
    goodbye    GOAWAY after each answer      odd       no HTTP/2 at all
    endless    a frame that says 16 MiB      pings     200,000 PINGs, and never reads
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.exceptions import H2Error

from tests.lab import dnsbytes
from tests.lab.scenarios import fresh

Reply = Callable[[bytes], None]


class StreamServer:
    """`await start(…)`; what came is counted."""

    def __init__(
        self, act: str = "answer", *, http: bool = False, hold: int = 1, delay_s: float = 0.5
    ) -> None:
        self.act = act
        self.hold = hold
        self.delay_s = delay_s
        self.http = http
        self.age = 0
        self.connections = 0
        self.open_now = 0
        self.asked: list[bytes] = []
        """Every question's message, as it came."""
        self.requests: list[dict[str, str]] = []
        """The headers of every HTTP request."""
        self._held: list[Callable[[], None]] = []
        self._open: set[asyncio.Transport] = set()

    async def start(self, address: str, port: int, context: ssl.SSLContext | None = None) -> int:
        """Listen; the port."""
        make = _Http if self.http else _Framed
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: make(self), address, port, ssl=context, backlog=1024)
        return int(self._server.sockets[0].getsockname()[1])

    def stop(self) -> None:
        self._server.close()
        self.drop_all()

    def drop_all(self) -> None:
        """Close every connection, without a word."""
        for transport in list(self._open):
            transport.abort()

    # ------------------------------------------------------------ what it does

    def heed(self, message: bytes, reply: Reply, close: Callable[[], None]) -> None:
        self.asked.append(message)
        right = answer(message)
        loop = asyncio.get_running_loop()
        if self.act == "slow":
            loop.call_later(self.delay_s, reply, right)
        elif self.act == "reverse":
            self._held.append(lambda: reply(right))
            if len(self._held) >= self.hold:
                held, self._held = self._held, []
                for each in reversed(held):
                    each()
        elif self.act == "close":
            close()
        elif self.act == "garbage":
            reply(b"\xff" * 40)
        elif self.act == "wrong-id":
            reply(bytes([right[0] ^ 0xFF]) + right[1:])
        elif self.act == "wrong-name":
            reply(right[:13] + b"Z" + right[14:])
        elif self.act == "one-each":
            reply(right)
            close()
        elif self.act != "silent":
            reply(right)


def answer(message: bytes) -> bytes:
    """As the scenario `fresh`."""
    end = 12
    while message[end]:
        end += 1 + message[end]
    name, qtype = message[12 : end + 1], int.from_bytes(message[end + 1 : end + 3], "big")
    return fresh(dnsbytes.Query(message, name, qtype, "tcp", ("", 0), ("", 0), 0), {})


class _Connection(asyncio.Protocol):
    def __init__(self, server: StreamServer) -> None:
        self.server = server
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.server.connections += 1
        self.server.open_now += 1
        self.server._open.add(self.transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.server.open_now -= 1
        self.server._open.discard(self.transport)


class _Framed(_Connection):
    def __init__(self, server: StreamServer) -> None:
        super().__init__(server)
        self._received = bytearray()

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        while len(received) >= 2 and len(received) >= 2 + (size := int.from_bytes(received[:2], "big")):
            message = bytes(received[2 : 2 + size])
            del received[: 2 + size]
            if not self.transport.is_closing():
                self.server.heed(message, self._reply, self.transport.close)

    def _reply(self, message: bytes) -> None:
        self.transport.write(len(message).to_bytes(2, "big") + message)


class _Http(_Connection):
    def __init__(self, server: StreamServer) -> None:
        super().__init__(server)
        self._http = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._bodies: dict[int, bytearray] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.server.act == "pings":
            transport.pause_reading()  # type: ignore[attr-defined]
            ping = (8).to_bytes(3, "big") + b"\x06" + bytes(13)
            self.transport.write(bytes(3) + b"\x04" + bytes(5) + ping * 200_000)
            return
        if self.server.act in ("odd", "endless"):
            odd = self.server.act == "odd"
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" if odd else b"\xff" * (1 << 18))
            return
        self._http.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        if self.server.act in ("odd", "endless"):
            return
        try:
            events = self._http.receive_data(data)
        except H2Error:
            self.transport.close()
            return
        for event in events:
            if isinstance(event, RequestReceived):
                self._bodies[event.stream_id] = bytearray()
                self.server.requests.append(dict(event.headers))  # type: ignore[arg-type]
            elif isinstance(event, DataReceived):
                self._bodies[event.stream_id] += event.data
                self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                self._ended(event.stream_id, bytes(self._bodies.pop(event.stream_id)))
        self._flush()

    def _ended(self, stream: int, body: bytes) -> None:
        act = self.server.act
        if act == "refuse":
            self.server.asked.append(body)
            self._http.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
        elif act.isdigit() or act == "html":
            self.server.asked.append(body)
            self._respond(stream, "text/html", b"no", 200 if act == "html" else int(act))
        else:
            reply = lambda message: self._respond(stream, "application/dns-message", message)  # noqa: E731
            self.server.heed(body, reply, self.transport.close)
        if act == "goodbye":
            self._http.close_connection(last_stream_id=stream)

    def _respond(self, stream: int, media: str, body: bytes, status: int = 200) -> None:
        headers = [(":status", str(status)), ("content-type", media), ("content-length", str(len(body)))]
        if self.server.age:
            headers.append(("age", str(self.server.age)))
        try:
            self._http.send_headers(stream, headers)
            self._http.send_data(stream, body, end_stream=True)
        except H2Error:  # the client has had enough of it
            return
        self._flush()

    def _flush(self) -> None:
        self.transport.write(self._http.data_to_send())


async def _run(config: list[dict[str, Any]]) -> None:
    from tests.lab.certificates import Certificate

    for each in config:
        context = None
        if each["certificate"]:
            alpn = "h2" if each["http"] else "dot"
            certificate = Certificate(Path(each["certificate"]), Path(each["key"]))
            context = certificate.context(alpn=alpn, old=each["old"])
        server = StreamServer(each["act"], http=each["http"], delay_s=each["delay_s"])
        await server.start(each["address"], each["port"], context)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(_run(json.loads(Path(sys.argv[1]).read_text())))
