"""One agent a network namespace, and what may not stop the one from starting.

Needs the lab and other users than root.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import NOBODY, Lab, Zone, wait_until
from tests.lab.agent import Agent
from tests.lab.needs import require_lab, require_users

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10"]
[[rule]]
name = "web"
names = [".example.org"]
ports = ["tcp/443"]
"""
ELSEWHERE = SETTINGS.replace("[resolver]", '[resolver]\nlisten = ["127.0.0.1:5300"]').replace("443", "8443")
EXIT_FAILED = 1
AGENT_USER = 4711
SOCKET = """
import socket, sys
sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
sock.bind("\\0dynallow-table")
"""
# The name that once was the lock, and the NFLOG group that is it now: NFULNL_CFG_CMD_BIND.
SQUATTERS = {
    "socket-listening": SOCKET + "sock.listen(1)",
    "socket-bound-only": SOCKET,
    "nflog-group": """
import socket, struct, sys
sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
sock.send(struct.pack("=IHHIIBBHHHBxxx", 28, 0x401, 5, 1, 0, 0, 0, socket.htons(0x6479), 5, 1, 1))
sock.recv(4096)
""",
}
STAY = "\nprint('ready', flush=True)\nsys.stdin.read()"


@pytest.fixture(scope="module")
def served() -> Iterator[Lab]:
    require_lab()
    with Lab(web=False) as lab:
        lab.serve(Zone("example.org").both("www", 10))
        yield lab


@pytest.fixture
def clean(served: Lab) -> Iterator[Lab]:
    """The lab, without a table before and after."""
    yield served
    served.host.run(["nft", "flush", "ruleset"])


def listing(lab: Lab) -> str:
    """The table with its handles: loading even the same text again would change them."""
    return lab.host.run(["nft", "-a", "-s", "-t", "list", "table", "inet", "dynallow"]).stdout


@pytest.mark.parametrize("user", [None, AGENT_USER], ids=["root", "own-user"])
def test_second_agent_with_other_port_and_control_socket_is_refused_and_changes_nothing(
    clean: Lab, user: int | None
) -> None:
    if user is not None:
        require_users()
    first = clean.agent(SETTINGS, user=user)
    try:
        assert clean.host.addresses("www.example.org") == ["192.0.2.10"]
        before = listing(clean)
        second = clean.agent(ELSEWHERE, user=user, resolv_conf=False, wait=False)
        wait_until(lambda: second.process.poll() is not None or "ready: " in second.log, "the second's end")
        try:
            assert second.process.wait(20) == EXIT_FAILED
        finally:
            second.kill()
        who = f"pid {first.process.pid}" if user is None else "its pid is for root to see"
        assert f"another agent ({who})" in second.log
        assert "Traceback" not in second.log
        assert listing(clean) == before
        assert clean.host.set_elements("web_v4").keys() == {"192.0.2.10"}
        assert "changed table" not in first.log
    finally:
        first.kill()
    third = clean.agent(ELSEWHERE, user=user, resolv_conf=False)  # the lock has gone with its process
    third.kill()


@contextmanager
def squatting(lab: Lab, code: str) -> Iterator[int]:
    """An ordinary user's process that would have the agent's lock; its pid."""
    argv = [lab.host.python_path, "-c", code + STAY]
    process = lab.host.popen(argv, user=NOBODY, stdin=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("kind", SQUATTERS)
def test_unprivileged_squatter_on_the_lock_does_not_stop_the_agent(clean: Lab, kind: str) -> None:
    require_users()
    with squatting(clean, SQUATTERS[kind]):
        agent = clean.agent(SETTINGS, wait=False)
        try:
            agent.wait_ready()
            assert clean.host.addresses("www.example.org") == ["192.0.2.10"]
        finally:
            agent.kill()


def test_hang_up_before_the_agent_is_ready_does_not_end_it(clean: Lab) -> None:
    """`systemctl reload` may come right after the start; again and again, as long as that lasts."""
    agent = clean.agent(SETTINGS, wait=False)
    early: list[bool] = []

    def hangs_up() -> bool:
        agent.process.send_signal(signal.SIGHUP)
        early.append("ready: " not in agent.log)
        return not early[-1] or agent.process.poll() is not None

    try:
        # Before the program itself has run, the signal is the interpreter's: it ends it.
        wait_until(lambda: _heeds_hang_ups(agent), "the agent ignoring SIGHUP")
        wait_until(hangs_up, "the agent's being ready")
        agent.wait_ready()
        assert any(early)
        assert clean.host.addresses("www.example.org") == ["192.0.2.10"]
        assert agent.stop() == 0
    finally:
        agent.kill()


def _heeds_hang_ups(agent: Agent) -> bool:
    """Whether SIGHUP is ignored or caught, and would not end the process."""
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    masks = (line.split()[1] for line in status.splitlines() if line.startswith(("SigIgn", "SigCgt")))
    return any(int(mask, 16) >> (signal.SIGHUP - 1) & 1 for mask in masks)
