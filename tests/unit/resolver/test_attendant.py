"""The selector that serves some sockets itself: at once, nobody else starves, whatever fails."""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import TypeVar

import pytest

from dynallow.resolver.attendant import Attendant

T = TypeVar("T")
WITHIN_S = 10.0


@pytest.fixture
def attendant() -> Iterator[Attendant]:
    attendant = Attendant(every_s=0.0)
    yield attendant
    attendant.close()


class Door:
    """A socket to serve, and the one to knock with."""

    def __init__(self) -> None:
        self.inside, self._outside = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.inside.setblocking(False)
        self.taken: list[bytes] = []

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        self.inside.close()
        self._outside.close()

    def knock(self, word: bytes = b"knock") -> None:
        self._outside.send(word)

    def take(self) -> None:
        self.taken.append(self.inside.recv(100))


def run(attendant: Attendant, work: Callable[[], Coroutine[None, None, T]]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(WITHIN_S):
            return await work()

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(attendant)) as runner:
        return runner.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def test_select_what_is_served_is_served_and_not_told(attendant: Attendant) -> None:
    with Door() as served, Door() as other:
        attendant.serve(served.inside, served.take)
        key = attendant.register(other.inside, selectors.EVENT_READ, "data")
        served.knock()
        assert attendant.select(WITHIN_S) == []
        assert served.taken == [b"knock"]
        served.knock(b"again")
        other.knock()
        assert attendant.select(WITHIN_S) == [(key, selectors.EVENT_READ)]
        assert (served.taken, other.taken) == ([b"knock", b"again"], [])
        assert attendant.get_key(other.inside) == key
        assert served.inside.fileno() not in attendant.get_map()


def test_select_nothing_comes_waits_its_whole_time_and_no_longer(attendant: Attendant) -> None:
    with Door() as served:
        attendant.serve(served.inside, served.take)
        for wanted in (0.05, 0.0011, 0.0, -1e-9):
            begin = time.monotonic()
            assert attendant.select(max(wanted, 0)) == []
            assert wanted <= time.monotonic() - begin < WITHIN_S


def test_flood_on_a_served_socket_starves_neither_timers_nor_other_sockets(attendant: Attendant) -> None:
    """Each time it is served, it is ready again before `select` could have returned."""

    async def work() -> int:
        with Door() as flooded, Door() as other:

            def serve() -> None:
                flooded.take()
                flooded.knock()

            attendant.serve(flooded.inside, serve)
            loop = asyncio.get_running_loop()
            loop.add_reader(other.inside, other.take)
            flooded.knock()
            other.knock()
            await asyncio.sleep(0.01)
            await until(lambda: other.taken)
            loop.remove_reader(other.inside)
            attendant.dismiss(flooded.inside)
            return len(flooded.taken)

    assert run(attendant, work) > 1


def test_flood_on_a_served_socket_leaves_the_other_served_one_its_turn(attendant: Attendant) -> None:
    with Door() as flooded, Door() as quiet:

        def serve() -> None:
            flooded.take()
            flooded.knock()

        attendant.serve(flooded.inside, serve)
        attendant.serve(quiet.inside, quiet.take)
        flooded.knock()
        quiet.knock()
        attendant.select(WITHIN_S)
        assert (len(flooded.taken), len(quiet.taken)) == (1, 1)
        quiet.knock()
        attendant.attend()
        assert (len(flooded.taken), len(quiet.taken)) == (2, 2)


@pytest.mark.parametrize("way", ["select", "attend"])
def test_work_that_fails_is_logged_and_the_others_go_on(
    attendant: Attendant, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Door() as broken, Door() as sound:

        def fail() -> None:
            broken.take()
            raise ZeroDivisionError("by nought")

        attendant.serve(broken.inside, fail)
        attendant.serve(sound.inside, sound.take)
        for count in (1, 2):
            broken.knock()
            sound.knock()
            if way == "select":
                attendant.select(WITHIN_S)
            else:
                attendant.attend()
            assert (len(broken.taken), len(sound.taken)) == (count, count)
    assert caplog.text.count("ZeroDivisionError: by nought") == 2


def test_attend_in_the_middle_of_a_row_serves_who_waits_then_and_there(attendant: Attendant) -> None:
    async def work() -> None:
        with Door() as served:
            attendant.serve(served.inside, served.take)
            for number in range(3):
                attendant.attend()
                assert len(served.taken) == number
                served.knock()
                attendant.attend()
                assert len(served.taken) == number + 1
            attendant.dismiss(served.inside)

    run(attendant, work)


def test_attend_again_within_a_moment_does_not_look_but_select_does() -> None:
    attendant = Attendant(every_s=1000.0)
    with Door() as served:
        attendant.serve(served.inside, served.take)
        attendant.attend()
        served.knock()
        attendant.attend()
        assert served.taken == []
        attendant.select(WITHIN_S)
        assert served.taken == [b"knock"]
    attendant.close()


def test_task_that_work_started_runs_although_nothing_else_happens(attendant: Attendant) -> None:
    """No timer, no other socket: `select` must return by itself."""

    done = threading.Event()

    async def ended() -> None:
        done.set()
        asyncio.get_running_loop().stop()

    with Door() as served:

        def serve() -> None:
            served.take()
            started.append(loop.create_task(ended()))

        started: list[asyncio.Task[None]] = []
        loop = asyncio.SelectorEventLoop(attendant)
        attendant.serve(served.inside, serve)
        knocking = threading.Timer(0.05, served.knock)
        rescue = threading.Timer(WITHIN_S, lambda: loop.call_soon_threadsafe(loop.stop))
        for thread in (knocking, rescue):
            thread.start()
        loop.run_forever()
        in_time = done.is_set()
        rescue.cancel()
        for thread in (knocking, rescue):
            thread.join()
        attendant.dismiss(served.inside)
        loop.close()
    assert in_time


def test_dismissed_socket_is_served_no_more_nor_whoever_gets_its_number(attendant: Attendant) -> None:
    with Door() as served:
        attendant.serve(served.inside, served.take)
        number = served.inside.fileno()
        attendant.dismiss(served.inside)
        served.knock()
        attendant.attend()
        assert attendant.select(0) == []
        assert served.taken == []
        with Door() as other:
            os.dup2(other.inside.fileno(), number)
            other.knock()
            attendant.attend()
            assert attendant.select(0) == []
        assert served.taken == []


def test_work_that_dismisses_another_socket_of_the_same_turn_does_no_harm(attendant: Attendant) -> None:
    with Door() as first, Door() as second:

        def leave(mine: Door, other: Door) -> None:
            mine.take()
            attendant.dismiss(other.inside)

        attendant.serve(first.inside, lambda: leave(first, second))
        attendant.serve(second.inside, lambda: leave(second, first))
        for step in (attendant.attend, lambda: attendant.select(0)):
            first.knock()
            second.knock()
            step()
        assert sorted([len(first.taken), len(second.taken)]) == [0, 2]


def test_loop_on_it_does_what_a_loop_does(attendant: Attendant) -> None:
    """Signals, threads, streams both ways, connections that end."""

    async def work() -> None:
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, told.set)
        os.kill(os.getpid(), signal.SIGUSR1)
        await told.wait()
        loop.remove_signal_handler(signal.SIGUSR1)
        assert await asyncio.to_thread(lambda: "thread") == "thread"

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.read())
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        sent = bytes(range(256)) * 8000  # more than the buffers hold: writing has to wait
        writer.write(sent)
        writer.write_eof()
        assert await reader.read() == sent
        writer.close()
        server.close()
        await server.wait_closed()

    run(attendant, work)


def test_serve_not_between_is_served_by_select_alone_and_can_be_dismissed(attendant: Attendant) -> None:
    with Door() as alone, Door() as both:
        attendant.serve(alone.inside, alone.take, between=False)
        attendant.serve(both.inside, both.take)
        alone.knock()
        both.knock()
        attendant.attend()
        assert (alone.taken, both.taken) == ([], [b"knock"])
        attendant.select(WITHIN_S)
        assert alone.taken == [b"knock"]
        for door in (alone, both):
            attendant.dismiss(door.inside)
            door.knock()
        attendant.attend()
        assert attendant.select(0.0) == []
        assert (alone.taken, both.taken) == ([b"knock"], [b"knock"])


def test_soon_from_what_select_serves_is_called_when_all_were_served_and_before_the_loop(
    attendant: Attendant,
) -> None:
    happened: list[str] = []

    def fail() -> None:
        raise ZeroDivisionError("by nought")

    def take(door: Door) -> None:
        door.take()
        happened.append("served")
        attendant.soon(fail)
        attendant.soon(lambda: happened.append("soon"))

    with Door() as one, Door() as other:
        attendant.serve(one.inside, partial(take, one))
        attendant.serve(other.inside, partial(take, other))

        async def work() -> None:
            one.knock()
            other.knock()
            asyncio.get_running_loop().call_soon(happened.append, "the loop's own")
            await until(lambda: len(happened) == 5)

        run(attendant, work)
    assert happened == ["served", "served", "soon", "soon", "the loop's own"]


def test_soon_from_elsewhere_is_called_in_the_next_turn_of_the_loop(attendant: Attendant) -> None:
    happened: list[str] = []

    async def work() -> None:
        attendant.soon(lambda: happened.append("soon"))
        assert happened == []
        await asyncio.sleep(0)
        assert happened == ["soon"]

    run(attendant, work)
