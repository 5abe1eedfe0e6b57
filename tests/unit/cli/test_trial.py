"""`mode`, `reload` with --confirm-within, `confirm`: what they ask of the agent, tell and end with."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynallow.pending.switch import ConflictError
from tests.unit.cli.command import dynallow, environment
from tests.unit.control.agent import MemoryAgent, serving


@pytest.fixture
def agent() -> MemoryAgent:
    made = MemoryAgent()
    made.mode = "observe"
    return made


@pytest.fixture
def socket(tmp_path: Path, agent: MemoryAgent) -> Iterator[Path]:
    path = tmp_path / "control.sock"
    with serving(agent, path):
        yield path


def on_terminal(answer: str, *arguments: str | Path) -> tuple[int, str]:
    """Exit code and stdout of a run at a terminal (stdin, stderr) where somebody types `answer`."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer.encode())  # it waits there until somebody reads
        ran = subprocess.run(
            [sys.executable, "-m", "dynallow", *map(str, arguments)],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
            timeout=60,
            check=False,
            env=environment(),
        )
    finally:
        os.close(ours)
        os.close(theirs)
    return ran.returncode, ran.stdout


def test_mode_enforce_tells_readiness_then_switches(agent: MemoryAgent, socket: Path) -> None:
    ran = dynallow("mode", "enforce", "--confirm-within", "5m", "--since", "1d", "--socket", socket)
    assert ran.returncode == 0
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("not yet: 3h observed, 12 would-be denials left")
    assert any("telemetry.example.com" in line and "tcp/443" in line and "curl" in line for line in lines)
    assert "and 3 more: `dynallow denied`" in lines
    assert lines[-2] == "mode observe → enforce"
    assert lines[-1].startswith("on trial until 2099-01-02 ")
    assert "back to mode observe then, unless you give `dynallow confirm`" in lines[-1]
    assert agent.asked == [("readiness", 86400.0), ("mode", "enforce", 300.0)]


def test_mode_enforce_as_json_holds_both_reports(agent: MemoryAgent, socket: Path) -> None:
    told = json.loads(dynallow("mode", "enforce", "--json", "--socket", socket).stdout)
    assert (told["mode"], told["was"], told["pending"]) == ("enforce", "observe", None)
    assert told["readiness"]["verdict"] == "not-yet"


@pytest.mark.parametrize(
    ("answer", "options", "verdict", "switched"),
    [
        ("\n", (), "too-little-seen", False),
        ("y\n", (), "not-yet", True),
        ("", ("--yes",), "not-yet", True),
        ("", (), "ready", True),
    ],
)
def test_mode_enforce_on_a_terminal_asks_where_it_is_not_ready(
    agent: MemoryAgent,
    socket: Path,
    answer: str,
    options: tuple[str, ...],
    verdict: str,
    switched: bool,
) -> None:
    agent.verdict = verdict  # type: ignore[assignment]
    code, _ = on_terminal(answer, "mode", "enforce", *options, "--socket", socket)
    assert (code, agent.mode) == ((0, "enforce") if switched else (1, "observe"))


def test_reload_on_trial_says_until_when(agent: MemoryAgent, socket: Path) -> None:
    ran = dynallow("reload", "--confirm-within", "10m", "--socket", socket)
    assert agent.asked == [("reload", 600.0)]
    assert "back to the settings before then" in ran.stdout.splitlines()[-1]


def test_confirm_says_what_is_in_force_and_how_to_keep_it(agent: MemoryAgent, socket: Path) -> None:
    ran = dynallow("confirm", "--socket", socket)
    assert ran.stdout.splitlines() == [
        "confirmed: mode enforce",
        "until the next start or reload: the settings say observe; to keep it, write "
        'mode = "enforce" into /etc/dynallow/dynallow.toml',
    ]
    assert dynallow("confirm", "--back", "--socket", socket).stdout == "taken back: mode observe\n"
    assert agent.asked == [("confirm", True), ("confirm", False)]


def test_confirm_of_nothing_exits_1(agent: MemoryAgent, socket: Path) -> None:
    agent.fault = ConflictError("nothing is on trial", "see the log")
    ran = dynallow("confirm", "--socket", socket)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "nothing is on trial" in ran.stderr


def test_time_out_of_bounds_is_wrong_usage(socket: Path) -> None:
    assert dynallow("mode", "enforce", "--confirm-within", "9s", "--socket", socket).returncode == 2
