"""`status --watch` draws again and again, until Ctrl-C, which is its right end."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dynallow.cli.status import until_interrupted
from tests.unit.cli.command import environment
from tests.unit.control.agent import MemoryAgent, serving


@contextmanager
def watching(path: Path, *options: str, **given: Any) -> Iterator[subprocess.Popen[bytes]]:
    """`status --watch` of the agent there; it does not outlive the test."""
    argv = [sys.executable, "-m", "dynallow", "status", "--watch", *options, "--socket", str(path)]
    process = subprocess.Popen(argv, **given)
    try:
        yield process
    finally:
        process.kill()
        process.wait(90)


def test_watch_json_is_a_line_a_draw_and_ends_with_0(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with serving(MemoryAgent(), path), watching(path, "--json", env=environment(), **pipes) as process:
        assert process.stdout is not None
        modes = [json.loads(process.stdout.readline())["mode"] for _ in range(2)]
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=90)
    assert modes == ["enforce", "enforce"]
    assert (process.returncode, error) == (0, b"")


def test_watch_on_a_terminal_shows_the_new_mode_and_survives_the_agents_end(tmp_path: Path) -> None:
    path, agent = tmp_path / "control.sock", MemoryAgent()
    ours, theirs = pty.openpty()
    given = environment(TERM="xterm-256color", COLUMNS="100", LINES="40")
    with watching(path, stdout=theirs, env=given) as process:
        os.close(theirs)
        with serving(agent, path):
            read_until(ours, b"enforce: what no rule allows")
            agent.mode = "observe"
            read_until(ours, b"observe: denials are logged")
        read_until(ours, b"agent not reachable")
        process.send_signal(signal.SIGINT)
        written = b"".join(iter(lambda: read_some(ours), b""))
        assert process.wait(90) == 0
    os.close(ours)
    assert b"\x1b[?1049l" in written  # the screen is given back


def test_interrupt_that_python_drops_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in a finaliser goes nowhere, also that of Ctrl-C."""
    dropped: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: dropped.append(told.exc_type))

    class Collected:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):  # somewhere here Python looks for signals
                pass

    before = signal.getsignal(signal.SIGINT)
    with until_interrupted() as interrupted:
        one = Collected()
        del one
        assert dropped == [KeyboardInterrupt]
        assert interrupted.came
    assert signal.getsignal(signal.SIGINT) is before


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
