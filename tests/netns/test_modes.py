"""Modes: observe blocks nothing and counts; every switch is one step, with no moment open in between.

Needs the lab, other users than root, and dnsperf.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.lab.agent import Agent
from tests.lab.needs import require_lab, require_users
from tests.netns import traffic, trials
from tests.netns.exits import WAYS
from tests.netns.trials import Trial
from tests.netns.wayout import SETTINGS, Way

LEASED = ("192.0.2.10", "2001:db8::a")


@pytest.fixture(scope="module")
def observed() -> Iterator[tuple[Lab, Agent, Trial]]:
    """A lab in mode observe in which every way out was tried."""
    require_lab()
    require_users()
    with Lab() as lab:
        trials.furnish(lab)
        agent = trials.agent(lab, mode="observe")
        yield lab, agent, trials.try_all(lab)


@pytest.fixture(scope="module")
def enforced() -> Iterator[tuple[Lab, Agent]]:
    require_lab()
    require_users()
    with Lab() as lab:
        trials.furnish(lab)
        yield lab, trials.agent(lab, await_lapse=False)


@pytest.fixture
def enforcing(enforced: tuple[Lab, Agent]) -> tuple[Lab, Agent]:
    """Whatever the test before this one left: mode enforce."""
    assert enforced[1].cli("mode", "enforce").returncode == 0
    return enforced


# Conntrack itself, which the design wants, waits for the rest of a lone fragment in every mode.
_HELD = ("raw-fragment-first", "raw-fragment-last", "raw-fragment-overlapping")


@pytest.mark.parametrize(
    "way", [way for way in WAYS if not way.id.startswith(_HELD)], ids=lambda way: str(way.id)
)
def test_way_out_in_mode_observe_is_open(observed: tuple[Lab, Agent, Trial], way: Way) -> None:
    _, _, trial = observed
    assert trial.took(way), trial.outcomes[way.id]


def test_mode_observe_counts_what_it_would_have_denied(observed: tuple[Lab, Agent, Trial]) -> None:
    _, agent, trial = observed
    status = agent.cli_json("status")
    assert status["mode"] == "observe"
    assert status["kernel"]["denied_packets"] > len(trial.packets) / 4
    refused = [id for id, (outcome, _) in trial.outcomes.items() if outcome == "EPERM"]
    assert [id for id in refused if not id.startswith(_HELD)] == []


def test_denied_name_in_mode_observe_is_asked_upstream_and_answered(
    observed: tuple[Lab, Agent, Trial],
) -> None:
    lab, agent, _ = observed
    before = agent.cli_json("status")["questions"]["denied"]
    answer = lab.host.ask("any.example.com", "TXT").answer
    assert [str(record) for rrset in answer for record in rrset] == ['"out"']
    assert agent.cli_json("status")["questions"]["denied"] == before + 1


def test_switching_to_enforce_closes_and_to_observe_opens(enforcing: tuple[Lab, Agent]) -> None:
    lab, agent = enforcing
    for step, (mode, opened) in enumerate((("observe", True), ("enforce", False)) * 2):
        # Of its own each time: what conntrack knows from mode observe is established, and stays open.
        addresses = (f"198.51.100.{210 + step}", f"2001:db8:51::{210 + step}")
        switched = agent.cli("mode", mode)
        assert switched.returncode == 0, switched
        wire = lab.sniffer()
        with traffic.running(lab, "forbidden", addresses):
            lab.host.run(["true"])
        assert bool(traffic.to_forbidden(wire.stop(), addresses)) is opened, mode
        assert agent.cli_json("status")["mode"] == mode


def test_reloads_in_mode_enforce_under_traffic_open_nothing_and_refuse_nothing(
    enforcing: tuple[Lab, Agent],
) -> None:
    lab, agent = enforcing
    wire = lab.sniffer()
    took_ms = []
    with (
        traffic.questions(lab, ["www.example.org", "any.example.com"]) as load,
        traffic.running(lab, "connect", LEASED) as connected,
        traffic.running(lab, "forbidden", traffic.FORBIDDEN) as forbidden,
    ):
        for dns in ("reject", "redirect") * 4:
            began = time.monotonic()
            reloaded = agent.reload(SETTINGS.format(mode="enforce", dns=dns, denied="reject"))
            took_ms.append((time.monotonic() - began) * 1000)
            assert reloaded.returncode == 0, reloaded
        assert agent.cli("mode", "enforce").returncode == 0
    leaked = traffic.to_forbidden(wire.stop())
    print(
        f"8 reloads: {min(took_ms):.0f}-{max(took_ms):.0f} ms; {forbidden.tries} forbidden rounds, "
        f"{len(leaked)} leaked; {connected.tries} connects, {connected.failed} failed; "
        f"dnsperf {load.completed}/{load.sent}"
    )
    assert leaked == []
    assert connected.failed == 0, connected.first
    assert forbidden.tries > 100
    assert connected.tries > 100


def test_switching_under_traffic_refuses_no_leased_address(enforcing: tuple[Lab, Agent]) -> None:
    lab, agent = enforcing
    with traffic.running(lab, "connect", LEASED) as connected:
        for mode in ("observe", "enforce") * 3:
            assert agent.cli("mode", mode).returncode == 0
    assert connected.failed == 0, connected.first
    assert connected.tries > 100


HOLD = """
import socket, sys
sock = socket.create_connection(("198.51.100.60", 6000), 5)
sock.settimeout(5)
print("ready", flush=True)
for line in sys.stdin:
    sock.sendall(b"more")
    print(sock.recv(4).decode(), flush=True)
"""


def test_connection_made_in_mode_observe_lives_on_when_enforce_begins(enforcing: tuple[Lab, Agent]) -> None:
    """Established is established: enforce cuts nothing made before it, and lets nothing new be made."""
    lab, agent = enforcing
    assert agent.cli("mode", "observe").returncode == 0
    process = lab.host.popen([lab.host.python_path, "-c", HOLD], stdin=subprocess.PIPE)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert agent.cli("mode", "enforce").returncode == 0
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "more\n"
        again = lab.host.python(HOLD, check=False)
        assert "ready" not in again.stdout
    finally:
        process.kill()
        process.communicate()
