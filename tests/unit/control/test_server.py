"""The socket's file: rights, stale and live ones, removal; the metrics site; stopping."""

from __future__ import annotations

import asyncio
import os
import socket as sockets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from urllib.request import urlopen

import pytest

from dynallow.control import socketfile
from dynallow.control.client import Client
from dynallow.control.server import ControlServer
from dynallow.errors import DynallowError
from dynallow.units import Endpoint
from tests.lab.standing import clock
from tests.lab.waiting import in_time
from tests.unit.control.agent import MemoryAgent, serving
from tests.unit.control.raw import connect


def rights(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_socket_file_is_made_0660_with_its_directory(tmp_path: Path) -> None:
    path = tmp_path / "run" / "dynallow" / "control.sock"
    before = os.umask(0o077)
    try:
        with serving(MemoryAgent(), path):
            assert rights(path) == 0o660
            assert rights(path.parent) == 0o755
    finally:
        os.umask(before)


def test_socket_file_never_has_wider_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    hand = socketfile._hand_to_group

    def look(path: Path, group: str) -> None:
        seen.append(rights(path))
        hand(path, group)

    monkeypatch.setattr(socketfile, "_hand_to_group", look)
    before = os.umask(0)
    try:
        with serving(MemoryAgent(), tmp_path / "control.sock"):
            pass
        assert os.umask(0) == 0  # and the process keeps its umask
    finally:
        os.umask(before)
    assert seen == [0o600]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to any group")
def test_socket_file_is_given_to_the_group(tmp_path: Path) -> None:
    made = socketfile.bind(tmp_path / "control.sock", group="daemon")
    made.sock.close()
    assert made.path.stat().st_gid == 1
    assert rights(made.path) == 0o660


def test_stop_removes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with serving(MemoryAgent(), path):
        pass
    assert not path.exists()


def test_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with sockets.socket(sockets.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving(MemoryAgent(), path):
        assert Client(path).get("/v1/status")["mode"] == "enforce"


def test_live_agent_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with serving(MemoryAgent(), path):
        with pytest.raises(DynallowError, match="another agent answers"), serving(MemoryAgent(), path):
            pass
        assert Client(path).get("/v1/status")["mode"] == "enforce"


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_other_file_in_the_place_is_never_removed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "control.sock"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DynallowError, match="another kind of file"), serving(MemoryAgent(), path):
        pass
    assert path.is_symlink() or path.exists()


def test_stop_leaves_the_socket_of_a_successor(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with serving(MemoryAgent(), path):
        path.unlink()
        with sockets.socket(sockets.AF_UNIX) as successor:
            successor.bind(str(path))
    assert path.is_socket()


def test_path_too_long_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DynallowError, match="cannot listen on the control socket"):
        socketfile.bind(tmp_path / ("x" * 120))


def test_metrics_site_serves_metrics_alone(tmp_path: Path) -> None:
    with sockets.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoint = Endpoint(ip_address("127.0.0.1"), port)
    with serving(MemoryAgent(), tmp_path / "control.sock", metrics=endpoint):
        with urlopen(f"http://{endpoint}/metrics", timeout=20) as reply:
            assert b"dynallow_leases" in reply.read()
        with sockets.create_connection(("127.0.0.1", port), timeout=20) as sock:
            sock.sendall(b"POST /v1/flush HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.1 404 ")


def test_metrics_site_that_cannot_listen_leaves_no_socket_file(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with sockets.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = Endpoint(ip_address("127.0.0.1"), taken.getsockname()[1])
        with (
            pytest.raises(DynallowError, match="cannot listen for metrics"),
            serving(MemoryAgent(), path, metrics=endpoint),
        ):
            pass
    assert not path.exists()


def test_stop_does_not_wait_for_idle_clients(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with connected_at_stop(path) as sock:
        started = clock()
    in_time(clock() - started, 1)
    assert sock.fileno() == -1


@contextmanager
def connected_at_stop(path: Path) -> Iterator[sockets.socket]:
    """A client that has sent half a request while the server stops."""
    with ExitStack() as after, serving(MemoryAgent(), path):
        sock = after.enter_context(connect(path))
        sock.sendall(b"GET /v1")
        Client(path).get("/v1/status")
        yield sock


def test_stop_does_not_wait_for_a_backend_that_hangs(tmp_path: Path) -> None:
    path, agent = tmp_path / "control.sock", MemoryAgent()
    with ExitStack() as after:
        with serving(agent, path) as loop:
            asyncio.run_coroutine_threadsafe(close_gate(agent), loop).result(5)
            sock = after.enter_context(connect(path))
            sock.sendall(b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            while not agent.asked:
                os.sched_yield()
            started = clock()
        in_time(clock() - started, 1)


async def close_gate(agent: MemoryAgent) -> None:
    agent.gate = asyncio.Event()


def test_client_that_comes_before_the_server_serves_is_answered_then(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"

    async def early() -> dict[str, object]:
        server = ControlServer(MemoryAgent(), path)
        server.bind()
        try:
            asking = asyncio.create_task(asyncio.to_thread(Client(path).get, "/v1/status"))
            await asyncio.to_thread(wait_until_connected, path)
            assert not asking.done()
            await server.serve()
            return await asking
        finally:
            await server.stop()

    assert asyncio.run(early())["mode"] == "enforce"
    assert not path.exists()


def wait_until_connected(path: Path) -> None:
    """Somebody waits at the socket: /proc tells of a client's end as of a connected one."""
    while Path("/proc/net/unix").read_text().count(str(path)) < 2:
        os.sched_yield()


def test_second_agent_is_stopped_by_the_bound_socket_alone(tmp_path: Path) -> None:
    first, second = (ControlServer(MemoryAgent(), tmp_path / "control.sock") for _ in range(2))
    first.bind()
    with pytest.raises(DynallowError, match="another agent answers"):
        second.bind()
    asyncio.run(first.stop())
