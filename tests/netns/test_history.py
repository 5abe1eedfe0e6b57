"""The real agent remembers what was denied and why, over restarts, and tells it as it happens.

Needs the lab and other users than root. Invariant: counts of flows are the kernel's, exact over a kill -9.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab import NOBODY, Lab, Zone, wait_until
from tests.lab.agent import Agent
from tests.lab.needs import require_lab, require_users

AGENT_USER = 4711
SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10"]
[[rule]]
name = "web"
names = ["www.example.org"]
"""
CONNECT = """
import socket, sys
for where in sys.argv[1:]:
    address, port = where.split("/")
    try:
        socket.create_connection((address, int(port)), 30).close()
    except OSError:
        pass
"""


@pytest.fixture(scope="module")
def recorded() -> Iterator[tuple[Lab, Agent, Path]]:
    """An agent of a user of its own that keeps its history in a directory of its own."""
    require_lab()
    require_users()
    with Lab() as lab:
        lab.serve(Zone("example.org").both("www", 10))
        state = lab.host.directory / "state"
        state.mkdir()
        state.chmod(0o777)
        yield lab, lab.agent(SETTINGS, user=AGENT_USER, env={"STATE_DIRECTORY": str(state)}), state


@contextmanager
def following(lab: Lab, agent: Agent) -> Iterator[Path]:
    """`log -f --json`; what it has printed."""
    told = agent.directory / "followed"
    argv = [lab.host.python_path, "-m", "dynallow", "log", "-f", "--json", "--since", "1m"]
    with told.open("w") as out:
        running = lab.host.popen([*argv, "--socket", str(agent.socket)], stdout=out, stderr=subprocess.STDOUT)
        try:
            yield told
        finally:
            running.kill()
            running.wait()


def lines(told: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in told.read_text().splitlines(keepends=True) if line.endswith("\n")]


def rows(agent: Agent) -> dict[tuple[str, str], dict[str, Any]]:
    """By what and port or type."""
    report = agent.cli_json("denied")
    return {(row["name"] or row["address"], row["port"] or row["qtype"]): row for row in report["rows"]}


def shapes(agent: Agent) -> dict[tuple[str, str], tuple[object, ...]]:
    return {key: (row["id"], row["why"], row["rule"], row["count"]) for key, row in rows(agent).items()}


def test_denied_is_told_with_its_reason_followed_and_remembered_over_restarts(
    recorded: tuple[Lab, Agent, Path],
) -> None:
    lab, agent, state = recorded
    with following(lab, agent) as told:
        wait_until(lambda: lines(told), "the agent's start, as a line")
        for _ in range(2):
            lab.host.ask("evil.example.net")
        lab.host.ask("www.example.org")
        lab.host.ask("www.example.org", "TXT")
        far = ("203.0.113.7/443",) * 3
        lab.host.python(CONNECT, "192.0.2.10/443", "192.0.2.10/80", *far, "203.0.113.7/853", user=NOBODY)
        found = rows(agent)
        assert {key: (row["why"], row["rule"], row["count"]) for key, row in found.items()} == {
            ("evil.example.net", "A"): ("not-listed", "", 2),
            ("www.example.org", "TXT"): ("type", "web", 1),
            ("www.example.org", "tcp/80"): ("port", "web", 1),
            ("203.0.113.7", "tcp/443"): ("no-name", "", 3),
            ("203.0.113.7", "tcp/853"): ("dns", "", 1),
        }
        assert found["203.0.113.7", "tcp/443"]["user"] == NOBODY
        assert {row["mode"] for row in found.values()} == {"enforce"}
        assert agent.cli("mode", "observe").returncode == 0
        seen = {("question", "evil.example.net"), ("answer", "www.example.org"), ("flow", ""), ("mode", "")}
        wait_until(lambda: seen <= {(line["event"], line["name"]) for line in lines(told)}, "their lines")
    before = shapes(agent)
    assert agent.cli_json("denied", "--by", "rule")["total"] == {"questions": 3, "packets": 5}
    agent.kill()
    agent.start()
    flows = [key for key in before if "/" in key[1]]
    after = shapes(agent)
    assert [after[key] for key in flows] == [before[key] for key in flows]
    agent.stop()
    agent.start()
    assert shapes(agent) == after
    kept = agent.cli_json("log")["lines"]
    assert [line["event"] for line in kept].count("start") == 3
    used = [row for row in json.loads(agent.get("/v1/history")[1])["rows"] if row["decision"] == "allowed"]
    assert [(row["name"], row["rule"], row["count"]) for row in used if row["kind"] == "flow"] == [
        ("www.example.org", "web", 1)
    ]
    assert (state / "history.db").stat().st_mode & 0o777 == 0o640


def test_history_that_cannot_be_written_is_a_warning_and_nothing_else(
    recorded: tuple[Lab, Agent, Path],
) -> None:
    lab, agent, state = recorded
    agent.stop()
    for file in state.iterdir():
        file.unlink()
    state.chmod(0o555)
    agent.start()
    lab.host.ask("worse.example.net")
    assert ("worse.example.net", "A") in rows(agent)
    warnings = agent.cli_json("status")["warnings"]
    assert any(line.startswith("the history is not kept: ") for line in warnings), warnings
