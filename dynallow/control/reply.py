"""One HTTP reply, read from a socket: what the client needs of HTTP, and no more.

By hand because http.client brings all of `email` and ssl: a third of the time
that `dynallow status` may take. Pure but for the stream that it reads. Keeps:
no line, head or body takes more than its limit, and a reply that ends before
it said it would is a BrokenReplyError, never a shorter answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BufferedReader
from typing import NamedTuple

LINES = "application/jsonl"
"""What to accept for an answer in lines, an object each."""
_LINE_MAX = 8192
_LINES_MAX = 100
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*?)[ \t]*\r?\n")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")


class BrokenReplyError(Exception):
    """The bytes are no HTTP reply, or not a whole one."""


class Reply(NamedTuple):
    """A status and a body."""

    status: int
    body: bytes


def request(method: str, target: str, body: bytes | None, accept: str = "") -> bytes:
    """The request; `target` is a quoted path, `body` JSON. The connection ends with the reply."""
    head = f"{method} {target} HTTP/1.1\r\nHost: dynallow\r\nConnection: close\r\n"
    if accept:
        head += f"Accept: {accept}\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode("ascii") + b"\r\n" + (body or b"")


def read_lines(stream: BufferedReader, line_max: int, body_max: int | None = None) -> Reply | Iterator[bytes]:
    """The lines of a body as they come, which need not end; the whole reply where it is not 200.

    Raises BrokenReplyError, also for a line that is longer, and OSError as the stream does.
    """
    status, fields = _head(stream)
    if status != 200:
        return Reply(status, _body(stream, fields, line_max))
    if fields.get(b"transfer-encoding", b"").lower() != b"chunked":
        return iter(_body(stream, fields, line_max).split(b"\n"))
    return _lines(stream, line_max, body_max)


def _lines(stream: BufferedReader, line_max: int, body_max: int | None) -> Iterator[bytes]:
    rest: list[bytes] = []
    taken = 0
    room = line_max
    while size := _number(_CHUNK, stream.readline(_LINE_MAX), 16, line_max):
        taken += size
        if body_max is not None:
            _must_fit(taken, body_max)
        first, *lines = _exactly(stream, size).split(b"\n")
        rest.append(first)
        if lines:
            yield b"".join(rest)
            yield from lines[:-1]
            rest, room = lines[-1:], line_max
        room -= len(rest[-1])
        _must_fit(-room, 0)
        if (end := stream.readline(2)) not in (b"\r\n", b"\n"):
            raise BrokenReplyError(f"expected a chunk's end, got {end!r}")
    if last := b"".join(rest):  # the last one needs no end
        yield last


def read_reply(stream: BufferedReader, body_max: int) -> Reply:
    """The reply that `stream` holds. Raises BrokenReplyError, and OSError as the stream does."""
    status, fields = _head(stream)
    return Reply(status, _body(stream, fields, body_max))


def _head(stream: BufferedReader) -> tuple[int, dict[bytes, bytes]]:
    first = stream.readline(_LINE_MAX)
    match = _STATUS.fullmatch(first)
    if match is None:
        raise BrokenReplyError(f"expected HTTP, got {first[:40]!r}" if first else "closed without an answer")
    return int(match[1]), _fields(stream)


def _body(stream: BufferedReader, fields: dict[bytes, bytes], body_max: int) -> bytes:
    coding = fields.get(b"transfer-encoding", b"").lower()
    if coding == b"chunked":
        body = _chunks(stream, body_max)
    elif coding:
        raise BrokenReplyError(f"expected a body as it is or in chunks, got it as {coding[:40]!r}")
    elif (length := fields.get(b"content-length")) is not None:
        body = _exactly(stream, _number(_LENGTH, length, 10, body_max))
    else:
        body = stream.read(body_max + 1)
        _must_fit(len(body), body_max)
    return body


def _fields(stream: BufferedReader) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    for _ in range(_LINES_MAX):
        line = stream.readline(_LINE_MAX)
        if line in (b"\r\n", b"\n"):
            return fields
        match = _FIELD.fullmatch(line)
        if match is None:
            raise BrokenReplyError(f"expected a header, got {line[:40]!r}")
        fields[match[1].lower()] = match[2]
    raise BrokenReplyError(f"expected at most {_LINES_MAX} headers")


def _chunks(stream: BufferedReader, body_max: int) -> bytes:
    parts: list[bytes] = []
    left = body_max
    while size := _number(_CHUNK, stream.readline(_LINE_MAX), 16, left):
        parts.append(_exactly(stream, size))
        left -= size
        if (end := stream.readline(2)) not in (b"\r\n", b"\n"):
            raise BrokenReplyError(f"expected a chunk's end, got {end!r}")
    return b"".join(parts)  # trailers, if any, are nobody's business


def _exactly(stream: BufferedReader, size: int) -> bytes:
    body = stream.read(size)
    if len(body) < size:
        raise BrokenReplyError(f"the answer was cut, {size - len(body)} bytes before its end")
    return body


def _number(shape: re.Pattern[bytes], text: bytes, base: int, most: int) -> int:
    match = shape.fullmatch(text)
    if match is None:
        raise BrokenReplyError(f"expected a length, got {text[:40]!r}" if text else "the answer was cut")
    number = int(match[match.lastindex or 0], base)
    _must_fit(number, most)
    return number


def _must_fit(size: int, most: int) -> None:
    if size > most:
        raise BrokenReplyError("the answer is longer than any of an agent's")
