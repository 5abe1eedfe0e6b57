"""The agent dies between two steps of a revocation.

What the kernel has taken holds, and the next start does the rest. Needs the lab.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.lab import Lab, wait_until
from tests.netns.cutting import (
    FOUR,
    SETTINGS,
    SIX,
    WITHOUT_WEB,
    Trial,
    chatterer,
    furnished,
    process,
    resolve,
    say,
    started,
    to_them,
)

TWO = json.dumps([["tcp", FOUR, 6005, 5], ["udp", SIX, 6005, 5]])


@pytest.fixture(scope="module")
def served() -> Iterator[Lab]:
    with furnished() as lab:
        yield lab


@pytest.fixture(scope="module")
def peer(served: Lab) -> Iterator[subprocess.Popen[str]]:
    with chatterer(served) as running:
        yield running


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("dynallow.firewall.revoking", "commit_patiently"),
        ("dynallow.firewall.conntrack", "flows_to"),
        ("dynallow.firewall.conntrack", "disown"),
        ("dynallow.firewall.sock_destroy", "destroy"),
    ],
)
def test_agent_that_dies_half_way_through_a_revocation_leaves_it_closed_or_to_be_done(
    served: Lab, peer: subprocess.Popen[str], module: str, name: str
) -> None:
    """Before any step: what the kernel has taken holds, and the next start does the rest."""
    agent = started(served, Trial)
    try:
        agent.stop()
        agent.dies(module, name)
        # Nothing is revoked at this start, so none of the steps is taken.
        agent.start()
        resolve(served.host, "www")
        with process(served.host, "flows_process", TWO) as flows:
            agent.write_settings(WITHOUT_WEB.format(expires=""))
            assert agent.cli("reload").returncode != 0 or name != "commit_patiently"
            agent.process.wait(60)
            if name != "commit_patiently":
                wire = served.sniffer()
                sent = say(peer)
                wait_until(lambda: say(peer) > sent + 40, "the peer that goes on")
                assert to_them(wire.stop(), 6005) == []
            agent.start()
            wait_until(lambda: say(flows)[1]["alive"] == 0, "the programs being told")
            assert served.host.set_elements("web_v4") == {}
    finally:
        agent.kill()
        served.host.run(["nft", "delete", "table", "inet", "dynallow"], check=False)


WITHOUT_A_RULE = SETTINGS[: SETTINGS.index("[[rule]]")] + SETTINGS[SETTINGS.index('[[rule]]\nname = "api"') :]
NARROWED = SETTINGS.replace('ports = ["tcp/6005", "udp/6005"]', 'ports = ["tcp/6004"]')


@pytest.mark.parametrize("after", [WITHOUT_A_RULE, NARROWED], ids=["rule gone", "ports gone"])
def test_agent_that_dies_between_the_new_rules_and_the_revocation_leaves_nothing_behind(
    served: Lab, peer: subprocess.Popen[str], after: str
) -> None:
    """The sets of a rule that went are gone then, as is what its ports were: the next start cannot tell."""
    agent = started(served, Trial)
    try:
        agent.stop()
        agent.dies("dynallow.firewall.revoking", "commit_patiently")
        agent.start()
        resolve(served.host, "www")
        with process(served.host, "flows_process", TWO) as flows:
            agent.write_settings(after.format(expires=""))
            assert agent.cli("reload").returncode != 0
            agent.process.wait(30)
            wire = served.sniffer()
            sent = say(peer)
            wait_until(lambda: say(peer) > sent + 40, "the peer that goes on")
            assert to_them(wire.stop(), 6005) == []
            agent.start()
            wait_until(lambda: say(flows)[1]["alive"] == 0, "the programs being told")
    finally:
        agent.kill()
        served.host.run(["nft", "delete", "table", "inet", "dynallow"], check=False)
