"""A hostile client of the control socket costs the others nothing.

Every limit has its own control: an honest client is answered while the
hostile one holds on, and the hostile one is let go of at the limit.
"""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from dynallow.control.client import Client
from dynallow.control.connection import Limits
from dynallow.control.encode import Listed
from dynallow.control.leaselines import Leases
from dynallow.control.reply import LINES
from dynallow.control.schema import LeaseReport
from dynallow.errors import ControlError
from tests.lab.standing import clock
from tests.lab.waiting import in_time
from tests.unit.control.agent import LEASE, MemoryAgent, serving
from tests.unit.control.raw import connect, exchange, parse, read_to_end

SHORT = Limits(read_s=0.3, write_s=0.5)
FLUSH = b"POST /v1/flush HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.mark.parametrize(
    "half",
    [b"", b"GET /v1/st", b"GET /v1/status HTTP/1.1\r\nHost: x\r\n", b"\r\n"],
    ids=["nothing", "half-line", "half-head", "empty-line"],
)
def test_half_request_is_cut_at_the_limit_and_others_are_served(socket: Path, half: bytes) -> None:
    with serving(MemoryAgent(), socket, limits=SHORT), connect(socket) as slow:
        slow.sendall(half)
        assert Client(socket).get("/v1/status")["mode"] == "enforce"
        assert read_to_end(slow) == b""


def test_one_byte_at_a_time_is_cut_at_the_limit(socket: Path) -> None:
    with serving(MemoryAgent(), socket, limits=SHORT), connect(socket, 0.02) as slow:
        started = clock()
        for byte in b"GET /v1/status?" + b"a" * 500:
            try:
                slow.sendall(bytes((byte,)))
                if slow.recv(1) == b"":
                    break
            except TimeoutError:
                continue  # nothing to read yet, as it should be
            except (BrokenPipeError, ConnectionResetError):
                break
        else:
            pytest.fail("500 bytes were taken")
        in_time(clock() - started, 2)


def test_body_that_never_comes_is_408(socket: Path) -> None:
    head = FLUSH + b"Content-Length: 20\r\n\r\n{"
    agent = MemoryAgent()
    with serving(agent, socket, limits=SHORT):
        reply = exchange(socket, head)
    assert (reply.status, reply.json()["code"]) == (408, "timeout")
    assert agent.asked == []


def test_body_cut_off_flushes_nothing(socket: Path) -> None:
    head = FLUSH + b"Content-Length: 20\r\n\r\n{}"
    agent = MemoryAgent()
    with serving(agent, socket, limits=SHORT):
        with connect(socket) as broken:
            broken.sendall(head)
        Client(socket).get("/v1/status")
    assert ("flush", None, None) not in agent.asked


def test_chunked_body_over_the_limit_is_413(socket: Path) -> None:
    chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
    head = FLUSH + b"Transfer-Encoding: chunked\r\n\r\n"
    with serving(MemoryAgent(), socket):
        reply = exchange(socket, head + chunk * 20)
    assert reply.status == 413


def test_body_said_to_be_huge_is_refused_before_it_is_sent(socket: Path) -> None:
    head = FLUSH + b"Content-Length: 99999999999\r\n\r\n"
    with serving(MemoryAgent(), socket):
        reply = exchange(socket, head)
    assert reply.status == 413


def test_compressed_bomb_is_not_unpacked(socket: Path) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 64 * 1024
    head = (
        "POST /v1/flush HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
    )
    agent = MemoryAgent()
    with serving(agent, socket):
        reply = exchange(socket, head.encode() + bomb)
    assert (reply.status, reply.json()["code"]) == (400, "bad-json")
    assert agent.asked == []


def test_head_without_end_is_400(socket: Path) -> None:
    with serving(MemoryAgent(), socket):
        reply = exchange(socket, b"GET /v1/status HTTP/1.1\r\nX: " + b"a" * 100_000)
    assert (reply.status, reply.json()["code"]) == (400, "bad-request")


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_are_400_or_cut_and_the_server_lives(socket: Path, seed: int) -> None:
    noise = random.Random(seed).randbytes(300) + b"\r\n\r\n"
    with serving(MemoryAgent(), socket, limits=SHORT):
        with connect(socket) as sock:
            sock.sendall(noise)
            raw = read_to_end(sock)
        assert not raw or parse(raw).json()["code"] == "bad-request"
        assert Client(socket).get("/v1/status")["mode"] == "enforce"


def test_client_that_never_reads_is_cut(socket: Path) -> None:
    with serving(MemoryAgent(leases=50_000), socket, limits=SHORT) as loop, connect(socket) as deaf:
        deaf.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        # Nothing is read here for as long as it takes others to be served past the limit.
        passed = asyncio.run_coroutine_threadsafe(asyncio.sleep(2 * SHORT.write_s), loop)
        while not passed.done():
            assert Client(socket).get("/v1/status", rule="api")["mode"] == "enforce"
        raw = read_to_end(deaf)
    assert not raw.endswith(b"0\r\n\r\n")  # cut, not served to its end from a buffer of the server's


def test_list_is_read_no_further_than_a_client_that_never_reads_lets_it_go(socket: Path) -> None:
    agent, read = MemoryAgent(), 0

    def endless() -> Iterator[list[str]]:
        nonlocal read
        while True:
            read += 1
            yield [json.dumps(LEASE)] * 100  # 10 KiB

    agent.leases = cast(list[LeaseReport], Listed(endless()))
    with serving(agent, socket, limits=SHORT) as loop, connect(socket) as deaf:
        deaf.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        while not read:
            os.sched_yield()
        agent.leases = []
        passed = asyncio.run_coroutine_threadsafe(asyncio.sleep(2 * SHORT.write_s), loop)
        while not passed.done():
            assert Client(socket).get("/v1/status", rule="api")["mode"] == "enforce"
        assert not read_to_end(deaf).endswith(b"0\r\n\r\n")
    assert 0 < read < 200


@pytest.mark.parametrize("accept", ["*/*", LINES])
def test_what_a_list_is_read_from_is_let_go_of_when_its_client_goes_away(socket: Path, accept: str) -> None:
    """Not when garbage is collected: the agent hardly ever does, and it is a socket."""
    agent, let_go = MemoryAgent(), threading.Event()

    def endless() -> Iterator[list[str]]:
        try:
            while True:
                yield [json.dumps(LEASE)] * 100
        finally:
            let_go.set()

    agent.leases = cast(list[LeaseReport], Leases(endless(), lambda texts: texts, "".join))
    gc.disable()
    try:
        with serving(agent, socket):
            with connect(socket) as leaver:
                leaver.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\nAccept: %b\r\n\r\n" % accept.encode())
                assert accept == "*/*" or LINES.encode() in leaver.recv(1000)
                assert leaver.recv(1000)
            assert let_go.wait(5.0)
    finally:
        gc.enable()


def test_reply_that_fails_in_the_middle_is_cut_and_said_to_be(socket: Path) -> None:
    def failing() -> Iterator[list[str]]:
        yield [json.dumps(LEASE)] * 1000
        raise RuntimeError("a fault of the agent's own")

    agent = MemoryAgent()
    agent.leases = cast(list[LeaseReport], Listed(failing()))
    with serving(agent, socket):
        with pytest.raises(ControlError, match="cut"):
            Client(socket).get("/v1/status")
        agent.leases = []
        assert Client(socket).get("/v1/status")["mode"] == "enforce"


def test_connections_over_the_cap_are_refused_and_room_comes_back(socket: Path) -> None:
    limits = Limits(clients=4, read_s=5)
    with serving(MemoryAgent(), socket, limits=limits):
        held = [connect(socket) for _ in range(4)]
        with connect(socket) as fifth:
            assert read_to_end(fifth) == b""
        for sock in held:
            sock.close()
        deadline = time.monotonic() + 5
        while True:
            try:
                assert Client(socket).get("/v1/status")["mode"] == "enforce"
                break
            except ControlError:
                if time.monotonic() > deadline:
                    raise


def test_pipelined_requests_get_one_reply(socket: Path) -> None:
    mode = b'{"mode":"observe"}'
    first = (
        b"POST /v1/mode HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % len(mode)
    ) + mode
    agent = MemoryAgent()
    with serving(agent, socket), connect(socket) as sock:
        sock.sendall(first + b"POST /v1/flush HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        raw = read_to_end(sock)
    assert raw.count(b"HTTP/1.1 200") == 1
    assert agent.asked == [("mode", "observe")]


def test_long_reload_is_not_cut_by_any_limit(socket: Path) -> None:
    agent = MemoryAgent()
    with serving(agent, socket, limits=SHORT) as loop:

        async def close_gate() -> None:
            agent.gate = asyncio.Event()
            loop.call_later(2 * SHORT.read_s + SHORT.write_s, agent.gate.set)

        asyncio.run_coroutine_threadsafe(close_gate(), loop).result(5)
        assert Client(socket).post("/v1/reload")["changed"] is True
