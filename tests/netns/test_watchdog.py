"""What the real agent tells a service manager, and when it stops telling that all is well.

Needs the lab. The test plays systemd's part: it holds the notify socket, and looks at the beats.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.lab import Lab, Zone, wait_until
from tests.lab.agent import SHARED, Agent
from tests.lab.needs import require_lab
from tests.lab.notified import Manager

WATCHDOG_S = 1.2
SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10"]
[[rule]]
name = "web"
names = [".example.org"]
"""
EXIT_SETTINGS = 3
# Somebody else's rule on loopback: questions no longer reach the agent.
DEAF = "table inet other { chain output { type filter hook output priority -10; udp dport 53 drop; }; }"
# A table with an owner: the kernel refuses everybody else, until that process ends.
OWNED = (
    "delete table inet dynallow; "
    "table inet dynallow { flags owner; set revoked_v4 { type ipv4_addr; flags timeout; }; }\n"
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    require_lab()
    with Lab(web=False) as built:
        built.serve(Zone("example.org").both("www", 10))
        yield built


@pytest.fixture
def manager(lab: Lab) -> Iterator[Manager]:
    directory = lab.host.directory / f"manager-{time.monotonic_ns()}"
    directory.mkdir()
    with contextlib.closing(Manager(directory, WATCHDOG_S)) as made:
        yield made


@pytest.fixture
def agent(lab: Lab, manager: Manager) -> Iterator[Agent]:
    started = lab.agent(SETTINGS, env=manager.environment)
    yield started
    started.kill()
    lab.host.run(["nft", "flush", "ruleset"])


def is_silent_for(manager: Manager, periods: float = 1.5) -> bool:
    """Whether no beat comes for longer than systemd would wait."""
    manager.forget()
    ends = time.monotonic() + periods * WATCHDOG_S
    while time.monotonic() < ends:
        if manager.all_of("WATCHDOG"):
            return False
        time.sleep(0.01)
    return True


def beats_again(manager: Manager) -> None:
    manager.forget()
    manager.wait_for("WATCHDOG", "1")


def test_ready_is_told_when_questions_are_answered_and_stopping_at_the_end(
    lab: Lab, manager: Manager
) -> None:
    agent = lab.agent(SETTINGS, env=manager.environment, wait=False)
    try:
        manager.wait_for("READY", "1")
        assert lab.host.addresses("www.example.org") == ["192.0.2.10"]
        status = manager.all_of("STATUS")[0]
        assert "mode enforce" in status
        assert "127.0.0.1:53" in status
        with open(f"/proc/{agent.process.pid}/environ", "rb") as environment:
            assert b"NOTIFY_SOCKET=" in environment.read()
        assert agent.stop() == 0
        assert manager.all_of("STOPPING") == ["1"]
        told = [key for message in manager.hear() for key in message.fields if key in ("READY", "STOPPING")]
        assert told == ["READY", "STOPPING"]
    finally:
        agent.kill()
        lab.host.run(["nft", "flush", "ruleset"])


@pytest.mark.parametrize("how", ["by the control socket", "by SIGHUP", "broken"])
def test_reload_is_told_from_its_beginning_to_its_end(agent: Agent, manager: Manager, how: str) -> None:
    manager.wait_for("READY")
    manager.forget()
    if how == "by the control socket":
        assert agent.reload(SETTINGS.replace("enforce", "observe")).returncode == 0
    elif how == "by SIGHUP":
        agent.write_settings(SETTINGS.replace("enforce", "observe"))
        agent.process.send_signal(signal.SIGHUP)
    else:
        assert agent.reload(SETTINGS.replace("enforce", "enforced")).returncode == EXIT_SETTINGS
    manager.wait_for("READY", "1")
    told = [message.fields for message in manager.hear() if message.fields.keys() & {"RELOADING", "READY"}]
    assert [next(iter(fields)) for fields in told] == ["RELOADING", "READY"]
    assert abs(int(told[0]["MONOTONIC_USEC"]) / 1e6 - time.monotonic()) < 10
    assert told[1]["STATUS"].startswith("mode enforce" if how == "broken" else "mode observe")


def test_beats_come_often_enough_while_all_is_well(agent: Agent, manager: Manager) -> None:
    wait_until(lambda: len(manager.all_of("WATCHDOG")) >= 8, "beats")
    at = [message.at for message in manager.hear() if "WATCHDOG" in message.fields]
    assert at[-1] - at[0] >= WATCHDOG_S
    assert (at[-1] - at[0]) / (len(at) - 1) < WATCHDOG_S / 2


def test_beats_leave_no_trace_in_the_table(lab: Lab, agent: Agent, manager: Manager) -> None:
    manager.wait_for("WATCHDOG")
    assert lab.host.set_elements("revoked_v4") == {}
    assert "dynallow_table_healed_total 0.0" in agent.get("/metrics")[1]


def test_beats_stop_while_questions_are_not_answered(lab: Lab, agent: Agent, manager: Manager) -> None:
    manager.wait_for("WATCHDOG")
    lab.host.run(["nft", "-f", "-"], stdin=DEAF)
    assert is_silent_for(manager)
    assert any("no answer from 127.0.0.1:53" in status for status in manager.all_of("STATUS"))
    lab.host.run(["nft", "delete", "table", "inet", "other"])
    beats_again(manager)


def test_beats_stop_while_the_kernel_refuses(lab: Lab, manager: Manager) -> None:
    """Somebody took the table, of a kernel where nobody could own ours."""
    agent = lab.agent(SETTINGS, env=manager.environment, options=SHARED)
    manager.wait_for("WATCHDOG")
    owner = lab.host.popen(["nft", "-i"], stdin=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert owner.stdin is not None
        owner.stdin.write(OWNED)
        owner.stdin.flush()
        wait_until(
            lambda: "owner" in lab.host.run(["nft", "list", "table", "inet", "dynallow"], check=False).stdout,
            "the table's new owner",
        )
        assert is_silent_for(manager)
        assert any("not well" in status for status in manager.all_of("STATUS"))
    finally:
        owner.kill()
        owner.communicate()
    beats_again(manager)  # the table went with its owner, and the agent has made it anew
    assert lab.host.addresses("www.example.org") == ["192.0.2.10"]
    agent.kill()
    lab.host.run(["nft", "flush", "ruleset"])


@pytest.mark.slow
def test_beats_stop_while_the_process_stands_still(agent: Agent, manager: Manager) -> None:
    manager.wait_for("WATCHDOG")
    agent.process.send_signal(signal.SIGSTOP)
    try:
        assert is_silent_for(manager)
    finally:
        agent.process.send_signal(signal.SIGCONT)
    beats_again(manager)


@pytest.mark.slow
def test_agent_that_nobody_watches_does_not_beat(lab: Lab, manager: Manager) -> None:
    del manager.environment["WATCHDOG_USEC"]
    agent = lab.agent(SETTINGS, env=manager.environment)
    try:
        manager.wait_for("READY")
        assert is_silent_for(manager, 0.5)
    finally:
        agent.kill()
        lab.host.run(["nft", "flush", "ruleset"])
