"""Any bytes from a stream upstream: every question ends, and nothing is taken that was not asked."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.errors import WireError
from dynallow.resolver.upstream.asked import LostError
from dynallow.resolver.upstream.datagrams import ExchangeCounts
from dynallow.resolver.upstream.framed import FramedLine
from dynallow.resolver.upstream.https import HttpLine
from dynallow.resolver.upstream.line import Line, Owner
from dynallow.resolver.upstream.streams import Opener, Stream
from dynallow.tasks import Tasks
from dynallow.wire.query import build_query
from tests.lab.streaming import answer

NAME = b"\x02n7\x07example\x03org\0"


class Wire(asyncio.Transport):
    """Where the line writes; nothing of it goes anywhere."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self.line = line
        self.written = bytearray()
        self.gone = False
        self.unsent = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def abort(self) -> None:
        if not self.gone:
            self.gone = True
            asyncio.get_running_loop().call_soon(self.line.connection_lost, None)

    close = abort

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def feed(kind: str, chunks: list[bytes]) -> list[object]:
    """Eight questions on one connection that says `chunks` and ends; what became of each."""

    async def work() -> list[object]:
        idents = iter(range(100, 200))
        wires: list[Wire] = []

        async def opened(owner: Owner) -> Line:
            line: Line
            if kind == "http":
                line = HttpLine(owner, "x.example", "/q", partial(build_query, 0))
            else:
                line = FramedLine(owner, build_query, lambda: next(idents))
            wires.append(Wire(line))
            line.connection_made(wires[-1])
            return line

        tasks = Tasks()
        stream = Stream(opened, tasks, ExchangeCounts())
        loop = asyncio.get_running_loop()
        asking = [asyncio.ensure_future(stream.ask(NAME, 1, loop.time() + 0.5)) for _ in range(8)]
        for _ in range(5):  # until they are on their way
            await asyncio.sleep(0)
        assert wires[0].written
        for chunk in chunks:
            if not wires[0].gone:
                wires[0].line.data_received(chunk)
            await asyncio.sleep(0)
        for _ in range(3):  # what was lost is asked once more, on another
            for wire in wires:
                wire.abort()
            for _ in range(5):
                await asyncio.sleep(0)
        found = await asyncio.wait_for(asyncio.gather(*asking, return_exceptions=True), 0.4)
        assert all(not list(wire.line.waiting()) for wire in wires)
        await tasks.stop()
        return cast(list[object], found)

    return asyncio.run(work())


def framed(packet: bytes) -> bytes:
    return len(packet).to_bytes(2, "big") + packet


_pieces = st.one_of(
    st.binary(max_size=300),
    st.binary(max_size=100).map(framed),
    # Right answers, to some of the questions, in any order and more than once.
    st.integers(98, 110).map(lambda ident: framed(answer(build_query(ident, NAME, 1)))),
    st.tuples(st.integers(100, 107), st.binary(max_size=60)).map(
        lambda pair: framed(answer(build_query(pair[0], NAME, 1))[:31] + pair[1])
    ),
)
_frames = st.tuples(
    st.integers(0, 12), st.integers(0, 255), st.sampled_from([0, 1, 3, 5, 7, 2]), st.binary(max_size=60)
).map(lambda f: len(f[3]).to_bytes(3, "big") + bytes([f[0], f[1]]) + f[2].to_bytes(4, "big") + f[3])
_SETTINGS = bytes(3) + b"\x04" + bytes(5)


@given(st.lists(_pieces, max_size=12))
def test_framed_line_any_bytes_end_every_question(chunks: list[bytes]) -> None:
    for ident, found in enumerate(feed("framed", chunks), 100):
        assert isinstance(found, tuple | LostError | WireError), found
        if isinstance(found, tuple):
            assert framed(answer(build_query(ident, NAME, 1)))[:5] in b"".join(chunks)


@given(st.lists(st.one_of(st.binary(max_size=200), _frames), max_size=12))
@pytest.mark.parametrize("first", [b"", _SETTINGS])
def test_http_line_any_bytes_end_every_question(first: bytes, chunks: list[bytes]) -> None:
    for found in feed("http", [first, *chunks]):
        assert isinstance(found, LostError | WireError | OSError), found


def test_line_whose_server_does_not_read_is_cut_off() -> None:
    async def work() -> None:
        stream = Stream(cast(Opener, None), Tasks(), ExchangeCounts())
        line = HttpLine(stream, "x.example", "/q", partial(build_query, 0))
        wire = Wire(line)
        line.connection_made(wire)
        line.data_received(_SETTINGS)
        assert line.is_open
        wire.unsent = 2 << 20
        line.data_received((8).to_bytes(3, "big") + b"\x06" + bytes(13))  # PING
        assert wire.gone
        assert line.why_lost == "it does not read"

    asyncio.run(work())
