"""What the client says when the agent cannot be reached: exit 4, and what to do."""

from __future__ import annotations

import os
import socket as sockets
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dynallow.control.client import Client
from dynallow.errors import ControlError


def test_no_socket_says_so_and_how_to_start(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="there is no such socket") as caught:
        Client(tmp_path / "none.sock").get("/v1/status")
    assert "systemctl start dynallow" in caught.value.hint
    assert caught.value.exit_code == 4


def test_socket_of_a_dead_agent_says_so(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with sockets.socket(sockets.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(ControlError, match="nobody listens"):
        Client(path).get("/v1/status")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user to lock out")
def test_permission_denied_names_the_group(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    listener = sockets.socket(sockets.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    path.chmod(0o600)
    script = (
        "import os, sys; from pathlib import Path\n"
        "from dynallow.control.client import Client\n"
        "from dynallow.errors import ControlError\n"
        "os.setuid(65534)\n"
        "try: Client(Path(sys.argv[1])).get('/v1/status')\n"
        "except ControlError as error: print(error, '|', error.hint)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True, timeout=30
    )
    listener.close()
    assert "permission denied" in ran.stdout
    assert "member of group dynallow" in ran.stdout


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 502 Bad\r\nContent-Length: 4\r\n\r\n<ht>",
    ],
    ids=["closed", "no-http", "no-object", "cut", "no-json"],
)
def test_answer_of_something_else_is_unreachable(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "control.sock"
    listener = sockets.socket(sockets.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def impostor() -> None:
        client, _ = listener.accept()
        with client:
            client.recv(65536)
            client.sendall(answer)

    thread = threading.Thread(target=impostor)
    thread.start()
    with pytest.raises(ControlError):
        Client(path, timeout_s=5).get("/v1/status")
    thread.join()
    listener.close()


def test_silent_agent_is_given_up_after_the_timeout(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with sockets.socket(sockets.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(ControlError, match=r"no answer within 0\.2 s"):
            Client(path, timeout_s=0.2).get("/v1/status")


def test_client_loads_without_the_servers_libraries() -> None:
    heavy = ("aiohttp", "asyncio", "pydantic", "pyroute2", "dns", "rich", "prometheus_client")
    script = (
        f"import sys, dynallow.control.client\nprint([name for name in {heavy!r} if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    assert ran.stdout.strip() == "[]"
