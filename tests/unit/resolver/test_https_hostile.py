"""What a server may send over HTTP/2 to do harm: frames given to the line as they come from the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast
from unittest.mock import Mock

import pytest
from hpack import Encoder

from dynallow.resolver.upstream.asked import Asked, LostError, Message, TurnedAwayError
from dynallow.resolver.upstream.datagrams import ExchangeCounts
from dynallow.resolver.upstream.https import HttpLine
from dynallow.resolver.upstream.line import Line

HEADERS, GOAWAY, PING = 1, 7, 6
OK = [(b":status", b"200"), (b"content-type", b"application/dns-message")]


class Owner:
    def __init__(self) -> None:
        self.counts = ExchangeCounts()

    def lost(self, line: Line) -> None:
        pass


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def headers(*block: bytes) -> bytes:
    return frame(HEADERS, 4, 1, b"".join(block))


def asked_on_a_line() -> tuple[HttpLine, Asked]:
    line = HttpLine(Owner(), "dns.example.org", "/dns-query", lambda name, qtype, how: bytes(128))
    transport = Mock(spec=asyncio.Transport)
    transport.get_write_buffer_size.return_value = 0
    line.connection_made(transport)
    line.data_received(frame(4, 0, 0, b""))
    asked = Asked(b"\1a\0", 1, asyncio.get_running_loop().create_future())
    line.send(asked)
    return line, asked


def run(work: Callable[[HttpLine, Asked], None]) -> tuple[HttpLine, asyncio.Future[Message]]:
    async def main() -> tuple[HttpLine, asyncio.Future[Message]]:
        line, asked = asked_on_a_line()
        work(line, asked)
        while line._digesting:  # noqa: ASYNC110
            await asyncio.sleep(0)
        return line, asked.told

    return asyncio.run(main())


def test_headers_that_unpack_to_much_end_the_connection() -> None:
    """30 such frames in 1 KiB took 300 ms of the loop, and the list had no bound but h2's of 64 KiB."""
    encoder = Encoder()
    filled = headers(encoder.encode([(":status", "103"), ("x", "y" * 4000)]))
    bomb = headers(encoder.encode([(":status", "103")] + [("x", "y" * 4000)] * 3))
    assert len(bomb) < 40
    line, told = run(lambda line, _: line.data_received(filled + bomb))
    assert isinstance(told.exception(), LostError)
    assert "larger than" in line.why_lost


def test_headers_that_are_no_utf_8_are_no_fault_where_they_do_not_matter() -> None:
    block = Encoder().encode([*OK, (b"server", b"\xff\xfe")])
    body = frame(0, 1, 1, b"answer")
    line, told = run(lambda line, _: line.data_received(headers(block) + body))
    assert told.result().packet == b"answer"
    assert line.is_open


def test_answer_before_goodbye_counts() -> None:
    answer = headers(Encoder().encode(OK)) + frame(0, 1, 1, b"answer")
    goodbye = frame(GOAWAY, 0, 0, bytes(8))
    line, told = run(lambda line, _: line.data_received(answer + goodbye))
    assert told.result().packet == b"answer"
    assert "goodbye" in line.why_lost
    assert line.owner.counts.malformed == 0


@pytest.mark.parametrize(
    "header",
    [(b":status", b"\x1b[2J\n\r"), (b"X" * 4000, b""), (b"a\n\x1b[2J", b""), (b"content-type", b"\n" * 99)],
)
def test_words_of_a_server_are_no_control_characters_and_no_page_of_the_log(
    header: tuple[bytes, bytes],
) -> None:
    block = Encoder().encode([header] if header[0] == b":status" else [(b":status", b"200"), header])
    _, told = run(lambda line, _: line.data_received(headers(block)))
    error = told.exception()
    assert isinstance(error, OSError)
    text = error.strerror or ""
    assert text.isprintable()
    assert 0 < len(text) <= 160


def test_line_that_cannot_read_what_came_tells_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours or of h2 must not leave questions on a connection that nobody reads any more."""

    def fail(self: HttpLine, data: bytes) -> None:
        raise KeyError(data)

    def work(line: HttpLine, asked: Asked) -> None:
        monkeypatch.setattr(HttpLine, "received", fail)
        with pytest.raises(KeyError):
            line.data_received(b"x" * 5000)

    line, told = run(work)
    assert isinstance(told.exception(), LostError)
    assert not line.is_open


def test_line_that_has_ended_keeps_nothing_of_what_still_comes() -> None:
    def work(line: HttpLine, asked: Asked) -> None:
        line.close()
        for _ in range(10):
            line.data_received(b"x" * 1000)

    line, told = run(work)
    assert not line._backlog
    assert isinstance(told.exception(), LostError)


def test_flood_is_looked_at_a_little_each_turn() -> None:
    line, told = run(lambda line, asked: line.data_received(frame(PING, 0, 0, bytes(8)) * 10_000))
    assert line.is_open
    assert not told.done()
    assert cast(Mock, line._transport).pause_reading.called
    assert cast(Mock, line._transport).resume_reading.called


def test_status_that_is_no_utf_8_is_no_answer() -> None:
    _, told = run(lambda line, _: line.data_received(headers(Encoder().encode([(b":status", b"\xff00")]))))
    assert isinstance(told.exception(), TurnedAwayError | LostError)
