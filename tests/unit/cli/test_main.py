"""Which verb is meant, and what each way out ends with."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dynallow import __version__
from dynallow.cli.main import VERBS, split
from tests.unit.cli.command import dynallow, environment
from tests.unit.control.agent import MemoryAgent, serving


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        ([], ([], "status", [])),
        (["--json"], ([], "status", ["--json"])),
        (["--rule", "a"], ([], "status", ["--rule", "a"])),
        (["explain", "--json", "x"], ([], "explain", ["--json", "x"])),
        (["--socket", "/s"], (["--socket", "/s"], "status", [])),
        (["--socket=/s", "flush"], (["--socket=/s"], "flush", [])),
        (["--socket", "status", "flush"], (["--socket", "status"], "flush", [])),
        (["--socket"], (["--socket"], "status", [])),
        (["-h"], (["-h"], "status", [])),
        (["explain", "-h"], ([], "explain", ["-h"])),
    ],
)
def test_split_finds_verb_and_arguments(argv: list[str], parts: tuple[list[str], str, list[str]]) -> None:
    assert split(argv) == parts


def test_help_lists_every_verb_on_stdout() -> None:
    ran = dynallow("-h")
    assert ran.returncode == 0
    assert all(f"\n  {verb} " in ran.stdout for verb in VERBS)
    assert ran.stderr == ""


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_names_it(verb: str) -> None:
    ran = dynallow(verb, "-h")
    assert ran.returncode == 0
    assert ran.stdout.startswith(f"usage: dynallow {verb} ")


def test_version_is_the_packages() -> None:
    assert dynallow("--version").stdout == f"dynallow {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["statu"],
        ["denied", "--by", "moon"],
        ["status", "--wacth"],
        ["status", "--js"],
        ["status", "extra"],
        ["explain"],
        ["explain", "a", "--port", "443"],
        ["explain", "a", "--user", "no-such-user-here"],
        ["mode"],
        ["mode", "off"],
        ["flush", "--rule", ""],
        ["flush", "--name", ""],
        ["--socket"],
        ["check", "a.toml", "--config", "b.toml"],
    ],
)
def test_wrong_usage_exits_2_with_nothing_on_stdout(arguments: list[str]) -> None:
    ran = dynallow(*arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr


def test_unknown_verb_offers_the_nearest() -> None:
    assert "did you mean status?" in dynallow("statsu").stderr


def test_unreachable_agent_exits_4_and_says_which_socket(tmp_path: Path) -> None:
    ran = dynallow("reload", "--socket", tmp_path / "none.sock")
    assert (ran.returncode, ran.stdout) == (4, "")
    assert str(tmp_path / "none.sock") in ran.stderr
    assert "hint: start the agent" in ran.stderr


def test_socket_flag_comes_before_variable(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with serving(MemoryAgent(), path):
        assert dynallow("mode", "observe", DYNALLOW_SOCKET=str(path)).returncode == 0
        assert dynallow("--socket", path, "mode", "observe", DYNALLOW_SOCKET="/nowhere").returncode == 0
        assert dynallow("mode", "observe", "--socket", "/nowhere", DYNALLOW_SOCKET=str(path)).returncode == 4
        assert dynallow("mode", "observe", DYNALLOW_SOCKET="").returncode == 4


def test_fault_of_ours_exits_1_in_one_line_and_with_debug_a_traceback(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom dynallow.cli import main, mode\n"
        "def broken(args): raise RuntimeError('oops \\x1b[31m')\n"
        "mode.execute = broken\nsys.exit(main.main(['mode', 'observe']))\n"
    )
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=90, check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("dynallow: internal error: RuntimeError: oops \\x1b[31m\n")
    ran = subprocess.run(
        command, capture_output=True, text=True, env=environment(DYNALLOW_DEBUG="1"), timeout=90, check=False
    )
    assert ran.returncode == 1
    assert "Traceback" in ran.stderr


def test_reader_that_goes_away_is_no_noise(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with serving(MemoryAgent(leases=20_000), path):
        shell = f'"{sys.executable}" -m dynallow --socket "{path}" status | head -n 1'
        ran = subprocess.run(
            ["sh", "-c", shell], capture_output=True, text=True, env=environment(), timeout=60, check=False
        )
    assert ran.stdout.startswith("mode ")
    assert ran.stderr == ""


def test_ctrl_c_exits_130_quietly(tmp_path: Path) -> None:
    agent, path = MemoryAgent(), tmp_path / "control.sock"
    with serving(agent, path) as loop:

        async def hold() -> None:
            agent.gate = asyncio.Event()

        asyncio.run_coroutine_threadsafe(hold(), loop).result(5)
        command = [sys.executable, "-m", "dynallow", "reload", "--socket", str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        while not agent.asked:
            assert process.poll() is None
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=90)
        assert agent.gate is not None
        loop.call_soon_threadsafe(agent.gate.set)
    assert (process.returncode, out, error) == (130, b"", b"")


def test_c_locale_prints_instead_of_failing(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with serving(MemoryAgent(), path):
        ran = dynallow("mode", "observe", "--socket", path, PYTHONIOENCODING="ascii")
    assert (ran.returncode, ran.stdout) == (0, "mode enforce \\u2192 observe\n")


def test_status_loads_none_of_the_heavy_libraries(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    script = (
        "import sys\nbefore = {*sys.modules}\nfrom dynallow.cli.main import main\nmain(sys.argv[1:])\n"
        "heavy = {'aiohttp', 'asyncio', 'pydantic', 'pyroute2', 'dns', 'dnslib', 'rich', 'dataclasses',\n"
        "         'dynallow.control.schema'}\n"
        "print(sorted(heavy & sys.modules.keys() - before), file=sys.stderr)\n"
    )
    with serving(MemoryAgent(), path):
        ran = subprocess.run(
            [sys.executable, "-c", script, "status", "--socket", str(path)],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=90,
            check=True,
        )
    assert ran.stderr == "[]\n"
