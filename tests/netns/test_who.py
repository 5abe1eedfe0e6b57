"""Whose denied connections were: of short-lived processes of many users, each refused once; and a flood.

Short here, in full with `-m slow`, which prints its figures. The user is the kernel's own count; process
and unit are of whoever was still there to be looked at, so they may be unknown, and are never another's.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Lab, wait_until
from tests.lab.agent import Agent
from tests.lab.needs import require_lab, require_users
from tests.lab.waiting import in_time
from tests.netns.asking import Client
from tests.netns.crowd_process import HOT
from tests.netns.denied_process import FLOODED
from tests.netns.manyfold import manyfold
from tests.netns.test_crowd import p99_s, scheduled_first

pytestmark = pytest.mark.netns

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.12"]
[[rule]]
name = "listed"
names = ["*.example.org"]
"""
DROPPING = SETTINGS.replace("[[rule]]", '[firewall]\ndenied = "drop"\n[[rule]]')
OBSERVING = SETTINGS.replace("enforce", "observe")
USERS = 20
CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    require_lab()
    require_users()
    with Lab(web=False) as built:
        built.scripted(manyfold)
        yield built


@pytest.fixture(scope="module")
def running(lab: Lab) -> Agent:
    return lab.agent(SETTINGS)


@pytest.fixture
def agent(running: Agent) -> Agent:
    """Whatever the test before this one left."""
    assert running.reload(SETTINGS).returncode == 0
    return running


@contextmanager
def units() -> Iterator[Path | None]:
    """A cgroup with a "unit" for each user, where this machine permits."""
    trees = [Path(tree) for tree in CGROUPS if os.access(f"{tree}/cgroup.controllers", os.F_OK)]
    if not trees or not os.access(trees[0], os.W_OK):
        yield None
        return
    top = trees[0] / f"dynallow-lab-{os.getpid()}-who"
    try:
        for number in range(USERS):
            (top / f"u{number}.service").mkdir(parents=True)
        yield top
    finally:
        for place, _, _ in os.walk(top, topdown=False):
            wait_until(lambda at=place: _removed(at), f"the end of what is in {place}")  # type: ignore[misc]


def _removed(place: str) -> bool:
    try:
        os.rmdir(place)
    except OSError:
        return False
    return True


def denied_flows(agent: Agent) -> list[dict[str, Any]]:
    code, body = agent.get("/v1/history?since=3600&kind=flow&decision=denied")
    assert code == 200, body
    found: list[dict[str, Any]] = json.loads(body)["rows"]
    return found


def short_lived(lab: Lab, top: Path | None, way: str, first: int, count: int, linger_s: float) -> list[Any]:
    """Run them; of each its port, user, process and unit. Of many no more a second than are looked at."""
    pace = 400 if count <= 100 else 45
    words = [way, str(first), str(count), str(USERS), str(pace), str(linger_s)]
    ran = lab.host.python_path, "-m", "tests.netns.denied_process", *words, *([str(top)] if top else [])
    told: list[Any] = json.loads(lab.host.run(ran, timeout=300).stdout)
    return told


def attributed(agent: Agent, expected: list[Any], mode: str) -> Counter[str]:
    """How many of them are told with their user, process and unit; and with another's."""

    def rows() -> dict[str, dict[str, Any]]:
        found = [row for row in denied_flows(agent) if row["mode"] == mode]
        return {row["port"].partition("/")[2]: row for row in found}

    ports = {str(port) for port, *_ in expected}
    wait_until(lambda: ports <= rows().keys(), "a record of each")
    told, sums = rows(), Counter[str]()
    for port, user, process, unit in expected:
        row = told[str(port)]
        sums["user"] += row["user"] == user
        sums["process"] += row["process"] == process
        sums["unit"] += row["unit"] == unit
        sums["another's"] += row["user"] not in (user, None) or row["process"] not in (process, "")
        sums["another's"] += row["unit"] not in (unit, "")
    return sums


@pytest.mark.parametrize(
    ("count", "others", "lingers_s"),
    [
        pytest.param(100, 40, [0.0], id="short"),
        pytest.param(1_000, 1_000, [0.0, 0.002, 0.02], id="full", marks=pytest.mark.slow),
    ],
)
def test_denied_connections_of_short_lived_processes_are_told_with_their_user(
    lab: Lab, agent: Agent, count: int, others: int, lingers_s: list[float]
) -> None:
    def one_round(way: str, mode: str, count: int, linger_s: float) -> None:
        first = 2_000 + len(denied_flows(agent))
        told = short_lived(lab, top, way, first, count, linger_s)
        sums = attributed(agent, told, mode)
        shares = ", ".join(f"{key} {sums[key] / count:.1%}" for key in ("user", "process", "unit"))
        print(f"{mode}, {way}, gone {linger_s * 1e3:.0f} ms later: {count} connections: {shares}")
        assert sums["user"] >= 0.99 * count
        assert sums["another's"] == 0

    with units() as top:
        for linger_s in lingers_s:
            one_round("tcp", "enforce", count, linger_s)
            one_round("udp", "enforce", others, linger_s)
        assert agent.reload(DROPPING).returncode == 0
        one_round("tcp", "enforce", others // 4, 0.0)
        assert agent.reload(OBSERVING).returncode == 0
        for linger_s in lingers_s:
            one_round("tcp", "observe", others, linger_s)


class Flood:
    """`denied_process flood`, seen from here."""

    def __init__(self, lab: Lab, pace: int, seconds: float) -> None:
        words = ["flood", str(pace), str(seconds)]
        self._process = lab.host.popen([sys.executable, "-m", "tests.netns.denied_process", *words])
        assert self._process.stdout is not None
        self._said = self._process.stdout
        assert self._said.readline() == "begun\n"

    def end(self) -> tuple[int, float]:
        """How many packets, in how many seconds."""
        sent, seconds = json.loads(self._said.readline())
        return int(sent), float(seconds)

    def close(self) -> None:
        self._process.kill()
        self._process.wait(60)
        self._said.close()


def flooded(agent: Agent) -> int:
    return sum(row["count"] for row in denied_flows(agent) if row["port"] == f"udp/{FLOODED}")


def test_flood_of_denied_packets_is_counted_exactly_and_costs_the_agent_little(
    lab: Lab, agent: Agent
) -> None:
    before, counted = agent.cpu_s(), flooded(agent)
    with closing(Flood(lab, 100_000, 1.0)) as flood:
        sent, _ = flood.end()
    wait_until(lambda: flooded(agent) >= counted + sent, "each of them counted")
    assert flooded(agent) == counted + sent
    # Of the processor's time, however long that takes: no packet may cost it, beyond the chain's sample.
    in_time(agent.cpu_s() - before, 1.5, f"what {sent} denied packets cost the agent")
    assert agent.process.poll() is None, agent.log
    assert "Traceback" not in agent.log, agent.log


@pytest.mark.slow
@pytest.mark.alone
def test_flood_of_denied_packets_leaves_others_their_answers(lab: Lab, agent: Agent) -> None:
    """Agent and measuring client scheduled before all else, see `test_crowd.py`."""
    seconds, noise_s = 10.0, 0.001
    ratios, total = list[float](), flooded(agent)
    with closing(Client(lab.host)) as client, scheduled_first(agent):
        client.ask(HOT)
        for _ in range(5):
            used = [agent.cpu_s()]
            alone = p99_s(client, seconds)
            used.append(agent.cpu_s())
            with closing(Flood(lab, 100_000, seconds + 1)) as flood:
                beside = p99_s(client, seconds)
                used.append(agent.cpu_s())
                sent, took_s = flood.end()
            total += sent
            ratios += [b / max(a, noise_s) for a, b in zip(alone, beside, strict=True)]
            print(
                f"{sent / took_s:,.0f} a second; p99 UDP {alone.udp * 1e3:.2f} and {beside.udp * 1e3:.2f} ms,"
                f" TCP {alone.tcp * 1e3:.2f} and {beside.tcp * 1e3:.2f} ms; the agent's share of a core"
                f" {(used[1] - used[0]) / seconds:.1%} and {(used[2] - used[1]) / seconds:.1%}"
            )
    wait_until(lambda: flooded(agent) >= total, "each of them counted")
    assert flooded(agent) == total
    in_time(statistics.median(ratios), 1.5, f"p99 beside the flood, in times that without, of {ratios}")


def test_log_group_that_another_program_has_is_a_warning_until_it_is_free(lab: Lab, agent: Agent) -> None:
    taken = SETTINGS.replace("[[rule]]", "[firewall]\nlog-group = 4711\n[[rule]]")
    with lab.host.entered():
        holder = subprocess.Popen(
            lab.host.command([sys.executable, "-c", HOLDER]), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert agent.reload(taken).returncode == 0
        warned = [text for text in agent.cli_json("status")["warnings"] if "4711" in text]
        assert len(warned) == 1, warned
        assert lab.host.addresses("n1.example.org") == ["192.0.2.1"]
    finally:
        holder.communicate(timeout=60)
    assert agent.reload(SETTINGS).returncode == 0
    assert agent.reload(taken).returncode == 0
    assert not [text for text in agent.cli_json("status")["warnings"] if "4711" in text]


HOLDER = """
import socket, struct, sys
sock = socket.socket(16, socket.SOCK_RAW, 12)
body = struct.pack(">BBH", 0, 0, 4711) + struct.pack("=HHBxxx", 5, 1, 1)
sock.send(struct.pack("=IHHII", 16 + len(body), 4 << 8 | 1, 5, 1, 0) + body)
assert struct.unpack_from("=i", sock.recv(4096), 16) == (0,)
print("held", flush=True)
sys.stdin.read()
"""
