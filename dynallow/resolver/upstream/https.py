"""DNS over HTTPS (RFC 8484) on one HTTP/2 connection: each question a POST on a stream of its own.

Knows h2 and the few headers that matter; must not know certificates. Keeps: only
status 200 with an `application/dns-message` of at most 64 KiB is an answer. The
server's own bounds (streams, windows) are kept by letting questions wait here.
Imported only when such an upstream is configured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from dynallow.resolver.upstream.asked import Asked, Message, lost, turned_away
from dynallow.resolver.upstream.line import ON_ONE_LINE, Line, Owner
from dynallow.wire import numbers as n

_MEDIA_TYPE = "application/dns-message"
_STREAMS_MAX = 100  # until the server says how many it takes (RFC 9113 section 6.5.2: no fewer)
_UNTOLD_MAX = 1 << 17  # bytes of which h2 makes nothing: it would collect a frame of 16 MiB
# Of one answer's headers, unpacked; servers send 1 KiB. A byte can stand for 4 KiB, and 64 KiB take 10 ms.
_HEADERS_MAX = 8192
_AGE_MAX_S = 0x7FFFFFFF


class _Http2(H2Connection):
    """h2 remembers how each of the last 65,536 streams ended, in 10 MiB."""

    MAX_CLOSED_STREAMS = 1024


@dataclass(slots=True)
class _Reply:
    """What has come of one answer."""

    asked: Asked
    body: bytearray = field(default_factory=bytearray)
    age_s: int = 0


class HttpLine(Line):
    """`authority` and `path` are the URL's; `query` makes the message for a name, a type and `how`, id 0."""

    slice_bytes = 128

    def __init__(
        self, owner: Owner, authority: str, path: str, query: Callable[[bytes, int, int], bytes]
    ) -> None:
        super().__init__(owner)
        self._query = query
        self._headers = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", authority),
            (":path", path),
            ("accept", _MEDIA_TYPE),
            ("content-type", _MEDIA_TYPE),
        ]
        self._http = _Http2(H2Configuration(client_side=True, header_encoding=None))
        self._http.local_settings = Settings(
            client=True,
            initial_values={SettingCodes.ENABLE_PUSH: 0, SettingCodes.MAX_HEADER_LIST_SIZE: _HEADERS_MAX},
        )
        self._http.decoder.max_header_list_size = _HEADERS_MAX  # what is told is not what is kept
        self._replies: dict[int, _Reply] = {}
        self._streams: dict[Asked, int] = {}
        self._later: dict[Asked, None] = {}
        """Who waits until the server takes one more."""
        self._untold = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._http.initiate_connection()
        self._flush()

    # ------------------------------------------------------------ questions

    def send(self, asked: Asked) -> None:
        if len(self._streams) + len(self._later) >= ON_ONE_LINE:
            raise turned_away(f"{ON_ONE_LINE} questions in flight on one connection")
        self._later[asked] = None
        self._send_more()

    def give_up(self, asked: Asked) -> None:
        self._later.pop(asked, None)
        stream = self._streams.pop(asked, None)
        if stream is None:
            return
        del self._replies[stream]
        self._reset(stream)
        self._send_more()

    def waiting(self) -> Iterable[Asked]:
        return chain(self._streams, self._later)

    def _send_more(self) -> None:
        """As many as the server takes now."""
        http = self._http
        try:
            while self._later and not self.why_lost:
                asked = next(iter(self._later))
                body = self._query(asked.name, asked.qtype, asked.how)
                room = min(http.outbound_flow_control_window, http.remote_settings.initial_window_size)
                streams_max = min(http.remote_settings.max_concurrent_streams, _STREAMS_MAX)
                if room < len(body) or http.open_outbound_streams >= streams_max:
                    break
                stream = http.get_next_available_stream_id()
                http.send_headers(stream, [*self._headers, ("content-length", str(len(body)))])
                http.send_data(stream, body, end_stream=True)
                del self._later[asked]
                self._streams[asked] = stream
                self._replies[stream] = _Reply(asked)
        except H2Error as error:  # no stream ids are left, say
            self.break_off(f"HTTP/2: {error}")
        self._flush()

    def _reset(self, stream: int) -> None:
        try:
            self._http.reset_stream(stream, ErrorCodes.CANCEL)
        except H2Error:  # the server has just ended it
            pass
        self._flush()

    def _flush(self) -> None:
        data = self._http.data_to_send()
        if data:
            self.write(data)

    # ------------------------------------------------------------ answers

    def received(self, data: bytes) -> None:
        try:
            events = self._http.receive_data(data)
            self._untold = 0 if events else self._untold + len(data)
            for event in events:
                self._heed(event)
        except H2Error as error:
            self.owner.counts.malformed += 1
            self._flush()  # with the code that says why
            self.break_off(f"HTTP/2: {error}")
            return
        if self._untold > _UNTOLD_MAX:
            self.break_off("HTTP/2: a frame without end")
        self._send_more()

    def _heed(self, event: Event) -> None:
        if isinstance(event, ResponseReceived):
            self._heed_headers(event)
        elif isinstance(event, DataReceived):
            self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            reply = self._replies.get(event.stream_id)
            if reply is not None:
                reply.body += event.data
                if len(reply.body) > n.MESSAGE_MAX:
                    self._turn_away(event.stream_id, f"an answer of over {n.MESSAGE_MAX} bytes")
        elif isinstance(event, StreamEnded):
            reply = self._take(event.stream_id)
            if reply is not None:
                self.tell(reply.asked, Message(bytes(reply.body), 0, reply.age_s))
        elif isinstance(event, StreamReset):
            self._heed_reset(event)
        elif isinstance(event, ConnectionTerminated):
            # GOAWAY. h2 hears nothing after it: all that is not answered is asked again on another line.
            self.break_off(f"the server said goodbye, code {event.error_code}")

    def _heed_headers(self, event: ResponseReceived) -> None:
        reply = self._replies.get(event.stream_id)
        if reply is None:
            return
        headers = {_text(name): _text(value) for name, value in event.headers}
        status, media = headers.get(":status", ""), headers.get("content-type", "none")
        if status != "200":
            self._turn_away(event.stream_id, f"HTTP status {status[:8]}")
        elif media.partition(";")[0].strip().lower() != _MEDIA_TYPE:
            self._turn_away(event.stream_id, f"content type {media[:40]!a}, not {_MEDIA_TYPE}")
        else:
            age = headers.get("age", "")
            reply.age_s = (
                min(int(age), _AGE_MAX_S) if age.isascii() and age.isdigit() and len(age) < 20 else 0
            )

    def _heed_reset(self, event: StreamReset) -> None:
        reply = self._take(event.stream_id)
        if reply is None or reply.asked.told.done():
            return
        if event.error_code == ErrorCodes.REFUSED_STREAM:  # it was not looked at: ask again
            reply.asked.told.set_exception(lost("the server refused the stream"))
        else:
            self.answers += 1
            reply.asked.told.set_exception(turned_away(f"HTTP/2 stream reset, code {event.error_code}"))

    def _turn_away(self, stream: int, why: str) -> None:
        reply = self._take(stream)
        if reply is None:
            return
        self.answers += 1
        if not reply.asked.told.done():
            reply.asked.told.set_exception(turned_away(why))
        self._reset(stream)

    def _take(self, stream: int) -> _Reply | None:
        reply = self._replies.pop(stream, None)
        if reply is not None:
            del self._streams[reply.asked]
        return reply


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
