"""What the client's own HTTP reader takes, and what it refuses: whole replies, within its limits."""

from __future__ import annotations

import json
import socket as sockets
import threading
from io import BufferedReader, BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.control.client import Client
from dynallow.control.reply import BrokenReplyError, Reply, read_lines, read_reply, request
from dynallow.errors import ControlError

_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
_MAX = 1000


def read(wire: bytes, body_max: int = _MAX) -> Reply:
    return read_reply(BufferedReader(BytesIO(wire)), body_max)


def chunked(*chunks: bytes) -> bytes:
    return _CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


@given(st.lists(st.binary(min_size=1, max_size=100), max_size=9))
def test_chunks_are_joined(chunks: list[bytes]) -> None:
    assert read(chunked(*chunks)) == Reply(200, b"".join(chunks))


@given(st.binary(max_size=_MAX))
def test_body_ends_at_its_length_or_else_with_the_connection(body: bytes) -> None:
    assert read(b"%bContent-Length: %d\r\n\r\n%bmore" % (_OK, len(body), body)) == Reply(200, body)
    assert read(b"HTTP/1.0 404 Not Found\r\n\r\n" + body) == Reply(404, body)


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=5), st.data())
def test_cut_reply_is_never_taken_for_a_shorter_one(chunks: list[bytes], data: st.DataObject) -> None:
    wire = chunked(*chunks)
    end = data.draw(st.integers(0, len(wire) - 3))  # the last two bytes end the trailers, which say nothing
    with pytest.raises(BrokenReplyError):
        read(wire[:end])


def read_by_lines(wire: bytes, line_max: int = _MAX, body_max: int | None = None) -> list[bytes]:
    lines = read_lines(BufferedReader(BytesIO(wire)), line_max, body_max)
    assert not isinstance(lines, Reply)
    return list(lines)


@given(st.lists(st.text("ab\n", min_size=1).map(str.encode), max_size=9))
def test_lines_are_the_same_however_they_come(chunks: list[bytes]) -> None:
    body = b"".join(chunks)
    lines = body.split(b"\n")
    assert read_by_lines(chunked(*chunks)) == (lines if lines[-1] else lines[:-1])
    assert read_by_lines(b"%bContent-Length: %d\r\n\r\n%b" % (_OK, len(body), body)) == lines


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=5), st.data())
def test_cut_lines_are_never_taken_for_fewer(chunks: list[bytes], data: st.DataObject) -> None:
    wire = chunked(*chunks)
    with pytest.raises(BrokenReplyError):
        read_by_lines(wire[: data.draw(st.integers(0, len(wire) - 3))])


def test_line_is_refused_from_its_limit_on_and_many_within_it_are_not() -> None:
    assert len(read_by_lines(chunked(*[b"x" * 10 + b"\n"] * 100), 11)) == 100
    with pytest.raises(BrokenReplyError, match="longer"):
        read_by_lines(chunked(b"\n", *[b"x"] * 12), 11)


def test_lines_are_refused_where_all_of_them_are_too_long_unless_they_need_not_end() -> None:
    wire = chunked(*[b"x\n"] * 10)
    assert len(read_by_lines(wire, 2, 20)) == len(read_by_lines(wire, 2)) == 10
    with pytest.raises(BrokenReplyError, match="longer"):
        read_by_lines(wire, 2, 19)


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n\r\n",
        _OK,
        _OK + b"no header\r\n\r\n",
        _OK + b"A: " + b"x" * 100_000 + b"\r\n\r\n",
        _OK + b"A: b\r\n" * 1000 + b"\r\n",
        _OK + b"Content-Length: 5\r\n\r\n{}",
        _OK + b"Content-Length: -1\r\n\r\n{}",
        _OK + b"Content-Length: +2\r\n\r\n{}",
        _OK + b"Content-Length: 99999999999999999999\r\n\r\n{}",
        _OK + b"Content-Length: 1001\r\n\r\n" + bytes(1001),
        _OK + b"\r\n" + bytes(1001),
        _OK + b"Transfer-Encoding: gzip\r\n\r\n",
        _CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
        _CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
        _CHUNKED + b"2\r\n{}xx0\r\n\r\n",
        _CHUNKED + b"ffffffffffff\r\n",
        chunked(bytes(600), bytes(600)),
    ],
)
def test_broken_or_endless_reply_is_refused(wire: bytes) -> None:
    with pytest.raises(BrokenReplyError):
        read(wire)


def test_request_says_how_long_its_body_is_and_that_it_is_the_only_one() -> None:
    wire = request("POST", "/v1/mode", b"{}")
    assert wire.startswith(b"POST /v1/mode HTTP/1.1\r\n")
    assert wire.endswith(b"Content-Length: 2\r\n\r\n{}")
    assert b"\r\nConnection: close\r\n" in wire
    assert b"Content-" not in request("GET", "/v1/status", None)


def ask_impostor(path: Path, *parts: bytes, then_silence: bool = False) -> dict[str, object]:
    """What the client makes of somebody who answers with `parts`."""
    over = threading.Event()
    with sockets.socket(sockets.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(65536)
                for part in parts:
                    client.sendall(part)
                if then_silence:
                    over.wait(30)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            return Client(path, timeout_s=0.3 if then_silence else 10).get("/v1/status")
        finally:
            over.set()
            thread.join()


def test_long_answer_in_many_chunks_arrives_whole(tmp_path: Path) -> None:
    value = {"names": ["a.example.org"] * 100_000}
    body = json.dumps(value).encode()
    wire = chunked(*(body[start : start + 16384] for start in range(0, len(body), 16384)))
    assert ask_impostor(tmp_path / "s", *(wire[at : at + 9999] for at in range(0, len(wire), 9999))) == value


def test_silence_in_the_middle_of_an_answer_ends_with_the_timeout(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"no answer within 0\.3 s"):
        ask_impostor(tmp_path / "s", _CHUNKED, b"2\r\n{", then_silence=True)


def test_cut_answer_says_so(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="cut"):
        ask_impostor(tmp_path / "s", _OK + b"Content-Length: 100\r\n\r\n{}")
