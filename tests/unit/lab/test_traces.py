"""What a failed test shows of its lab: all that says something, and no more than one reads."""

from __future__ import annotations

import os
from pathlib import Path

from tests.lab.traces import traces


def test_traces_show_every_log_that_says_something_and_the_latest_last(tmp_path: Path) -> None:
    _log(tmp_path / "host/agent-1/log", 1, "WARNING dynallow: agent")
    _log(tmp_path / "internet/scripted-1/log", 3, "Traceback")
    _log(tmp_path / "internet/scripted-2/log", 2, "")
    assert traces(tmp_path) == [
        ("lab: host/agent-1/log", "WARNING dynallow: agent"),
        ("lab: internet/scripted-1/log", "Traceback"),
    ]


def test_traces_of_a_long_log_show_its_last_lines(tmp_path: Path) -> None:
    _log(tmp_path / "host/agent-1/log", 1, "\n".join(f"line {number}" for number in range(100_000)))
    ((_, text),) = traces(tmp_path)
    lines = text.splitlines()
    assert lines[-1] == "line 99999"
    assert len(lines) == 61


def test_traces_of_an_agent_that_has_ended_say_so(tmp_path: Path) -> None:
    (tmp_path / "host/agent-1").mkdir(parents=True)
    (tmp_path / "host/agent-1/control.sock").touch()
    assert traces(tmp_path) == [
        ("lab: metrics of agent-1", "not to be had: ConnectionRefusedError(111, 'Connection refused')")
    ]


def _log(path: Path, written_at: int, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text)
    os.utime(path, (written_at, written_at))
