"""`status --watch` draws again and again, until Ctrl-C, which is its right end."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

from tests.unit.cli.command import environment
from tests.unit.control.agent import MemoryAgent, serving


def test_watch_json_is_a_line_a_draw_and_ends_with_0(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with serving(MemoryAgent(), path):
        process = subprocess.Popen(
            [sys.executable, "-m", "dynallow", "status", "--watch", "--json", "--socket", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        assert process.stdout is not None
        modes = [json.loads(process.stdout.readline())["mode"] for _ in range(2)]
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=90)
    assert modes == ["enforce", "enforce"]
    assert (process.returncode, error) == (0, b"")


def test_watch_on_a_terminal_shows_the_new_mode_and_survives_the_agents_end(tmp_path: Path) -> None:
    path, agent = tmp_path / "control.sock", MemoryAgent()
    ours, theirs = pty.openpty()
    with serving(agent, path):
        process = subprocess.Popen(
            [sys.executable, "-m", "dynallow", "status", "--watch", "--socket", str(path)],
            stdout=theirs,
            env=environment(TERM="xterm-256color", COLUMNS="100", LINES="40"),
        )
        os.close(theirs)
        read_until(ours, b"enforce: what no rule allows")
        agent.mode = "observe"
        read_until(ours, b"observe: denials are logged")
    read_until(ours, b"agent not reachable")
    process.send_signal(signal.SIGINT)
    written = b"".join(iter(lambda: read_some(ours), b""))
    os.close(ours)
    assert process.wait(90) == 0
    assert b"\x1b[?1049l" in written  # the screen is given back


def read_some(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: the other side is closed, which is a terminal's end
        return b""


def read_until(terminal: int, text: bytes) -> None:
    seen = b""
    while text not in seen:
        more = read_some(terminal)
        assert more, seen
        seen += more
