"""Changes on trial, with the real agent and kernel: back by themselves, over kill -9 too, unless confirmed.

Needs the lab. No trial is shorter than 10 s: what is on disk is made older instead, while no agent runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Lab, Zone, wait_until
from tests.lab.agent import Agent
from tests.lab.needs import require_lab

HEAD = '[resolver]\nupstreams = ["10.10.0.10"]\n'
OLD = 'mode = "observe"\n' + HEAD + '[[rule]]\nname = "web"\nnames = ["www.example.org"]\n'
ENFORCED = OLD.replace("observe", "enforce")
BREAKING = ENFORCED.replace("www.example.org", "api.example.org")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    require_lab()
    with Lab() as built:
        built.serve(Zone("example.org").both("www", 10).both("api", 11))
        yield built


def start(lab: Lab, settings: str, state: Path) -> Agent:
    state.mkdir()
    return lab.agent(settings, env={"STATE_DIRECTORY": str(state)})


def drops(lab: Lab) -> bool:
    """What the kernel says."""
    chain = lab.host.run(["nft", "list", "chain", "inet", "dynallow", "output"]).stdout
    return "policy drop" in chain


def shorten(state: Path, by_s: float) -> None:
    """As if the trial had begun so much earlier; its agent must not be running."""
    file = state / "pending.json"
    told = json.loads(file.read_text())
    for key in ("ends_up", "ends_wall", "began_wall"):
        told["trial"][key] -= by_s
    file.write_text(json.dumps(told))


def status(agent: Agent) -> Any:
    """Without a process for it."""
    return json.loads(agent.get()[1])


def test_enforce_on_trial_survives_kill_9_and_goes_back_by_itself_unless_confirmed(
    lab: Lab, tmp_path: Path
) -> None:
    agent = start(lab, OLD, tmp_path / "state")
    tried = agent.cli("mode", "enforce", "--confirm-within", "1h")
    assert tried.returncode == 0, tried
    assert "back to mode observe then" in tried.stdout
    assert "too little seen" in tried.stdout or "not yet" in tried.stdout
    assert drops(lab)
    agent.kill()
    shorten(tmp_path / "state", 3597.0)
    agent.start()
    wait_until(lambda: not drops(lab), "the end of the trial")
    wait_until(lambda: not (tmp_path / "state/pending.json").exists(), "its file's end")
    assert "not confirmed" in agent.log
    late = agent.cli("confirm")
    assert (late.returncode, "nothing is on trial" in late.stderr) == (1, True)
    # Ended while no agent ran: it starts in the old mode.
    assert agent.cli("mode", "enforce", "--confirm-within", "1h").returncode == 0
    assert agent.cli("reload").returncode == 1
    agent.kill()
    assert drops(lab)
    shorten(tmp_path / "state", 3601.0)
    agent.start()
    assert not drops(lab)
    assert agent.cli("mode", "enforce", "--confirm-within", "1h").returncode == 0
    pending = status(agent)["pending"]
    assert (pending["what"], pending["from"], pending["to"]) == ("mode", "observe", "enforce")
    kept = agent.cli("confirm")
    assert f'write mode = "enforce" into {agent.config}' in kept.stdout
    assert not (tmp_path / "state/pending.json").exists()
    assert drops(lab)
    agent.kill()


def test_reload_that_breaks_a_service_is_taken_back_and_stays_so_over_restart_and_boot(
    lab: Lab, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    agent = start(lab, ENFORCED, state)
    wait_until(lambda: (state / "ruleset.nft").exists(), "the kept ruleset")
    kept = (state / "ruleset.nft").read_text()
    agent.write_settings(BREAKING)
    assert agent.cli("reload", "--confirm-within", "1h").returncode == 0
    assert lab.host.addresses("www.example.org") == []
    assert lab.host.addresses("api.example.org") == ["192.0.2.11"]
    assert (state / "ruleset.nft").read_text() == kept
    agent.kill()
    shorten(state, 3597.0)
    agent.start()
    wait_until(lambda: status(agent)["pending"] is None, "the end of the trial")
    assert "192.0.2.11" not in lab.host.set_elements("web_v4")  # only the new policy justified it
    assert lab.host.addresses("www.example.org") == ["192.0.2.10"]
    agent.kill()
    lab.host.run(["nft", "flush", "ruleset"])
    (state / "ruleset.nft").unlink()  # so that the settings are asked
    argv = [lab.host.python_path, "-m", "dynallow", "firewall", "--config", str(agent.config)]
    assert lab.host.run(argv, env={"STATE_DIRECTORY": str(state)}).returncode == 0
    agent.start()
    assert lab.host.addresses("www.example.org") == ["192.0.2.10"]
    assert lab.host.addresses("api.example.org") == []
    assert any("not what the files say" in warning for warning in status(agent)["warnings"])
    assert agent.cli("reload").returncode == 0  # said: what the files say
    assert lab.host.addresses("api.example.org") == ["192.0.2.11"]
    assert not any("not what the files say" in warning for warning in status(agent)["warnings"])
    agent.kill()
