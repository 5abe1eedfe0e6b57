"""A day on a host with five services: observe, suggest, check, replay, enforce with confirm; no rule by hand.

And the proof that observing tells what enforcing denies: the same traffic in both modes, the same list.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Lab, wait_until
from tests.lab.agent import Agent
from tests.lab.day import (
    API,
    APT,
    EXFILTRATION,
    LEGITIMATE,
    SECRETS,
    TELEMETRY,
    THIEF,
    THIEFS_SERVER,
    UNTRUSTED,
    Service,
    zones,
)
from tests.lab.needs import require_lab, require_users

UPSTREAM = '[resolver]\nupstreams = ["10.10.0.10"]\n'
OBSERVE = f'mode = "observe"\n{UPSTREAM}'
ENFORCE = f'mode = "enforce"\n{UPSTREAM}'
STOLEN = ("198.51.100.66", "198.51.100.53")


@pytest.fixture
def lab() -> Iterator[Lab]:
    require_lab()
    require_users()
    with Lab() as made:
        made.serve(*zones())
        yield made


def denied_lines(agent: Agent) -> list[dict[str, Any]]:
    return list(agent.cli_json("denied", "--since", "1d", "--limit", "1000")["rows"])


def work(lab: Lab, services: tuple[Service, ...]) -> dict[str, dict[str, str]]:
    """A round of each; those that failed, with what."""
    return {service.name: failed for service in services if (failed := service.work(lab))}


def done(agent: Agent, *words: str, code: int = 0) -> str:
    """What the verb prints; it must end with `code`."""
    result = agent.cli(*words)
    assert result.returncode == code, f"{words}: {result}"
    return result.stdout


def test_day_from_observe_to_enforce_without_a_rule_by_hand(lab: Lab) -> None:
    agent = lab.agent(OBSERVE)
    suggested = agent.directory / "conf.d/60-suggested.toml"

    # Observe: everything goes, the exfiltration too, and is seen.
    for _ in range(3):
        assert work(lab, (*LEGITIMATE, EXFILTRATION)) == {}
    wait_until(lambda: named(agent) >= wanted(LEGITIMATE), "what the services asked for, in the list")
    assert agent.cli_json("status")["kernel"]["denied_packets"] > 0  # would be

    done(agent, "suggest", "--config", str(agent.config), "--apply", "--yes")
    text = suggested.read_text()
    active = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert not any(word in line for line in active for word in (*SECRETS, "exfil", *STOLEN)), text
    agent.write_settings(ENFORCE)
    done(agent, "check", str(agent.config))
    done(agent, "replay", str(agent.config))

    # Enforce, for a minute unless it is confirmed.
    agent.write_settings(OBSERVE)
    done(agent, "reload")
    done(agent, "mode", "enforce", "--confirm-within", "10m", "--yes")
    wire = lab.sniffer()
    assert work(lab, LEGITIMATE) == {}
    done(agent, "confirm")
    assert set(EXFILTRATION.work(lab)) == set(EXFILTRATION.errands)
    leaked = [packet for packet in wire.from_host() if packet.dst in STOLEN]
    assert leaked == []
    assert work(lab, LEGITIMATE) == {}

    # It is to last: into the settings.
    agent.write_settings(ENFORCE)
    done(agent, "reload")

    # A change that breaks the shipper: replay says so, and without a confirmation it is taken back.
    narrowed = text.replace("tcp/8443", "tcp/8444")
    assert narrowed != text
    suggested.write_text(narrowed)
    broken = done(agent, "replay", str(agent.config), code=5)
    assert "ingest.example.com" in broken
    done(agent, "reload", "--confirm-within", "10s")
    telemetry = next(service for service in LEGITIMATE if service.uid == TELEMETRY)
    assert set(telemetry.work(lab)) == set(telemetry.errands)
    wait_until(lambda: agent.cli_json("status")["pending"] is None, "the old rules, back by themselves")
    assert work(lab, LEGITIMATE) == {}
    assert EXFILTRATION.work(lab)

    page = Path(agent.directory / "report.html")
    done(agent, "report", "-o", str(page))
    assert "shard" in page.read_text()
    assert {line["user"] for line in denied_lines(agent)} >= {APT, API, TELEMETRY, UNTRUSTED}


def named(agent: Agent) -> set[str]:
    return {line["name"] for line in denied_lines(agent) if line["kind"] == "flow"}


def wanted(services: tuple[Service, ...]) -> set[str]:
    return {errand.split(":")[1] for service in services for errand in service.errands}


SAME = (
    Service(
        "a",
        APT,
        ("ask:deb.mirror.example.org", "tcp:[192.0.2.11]:80", "tcp:[2001:db8::b]:80", f"tcp:[{THIEF}]:25"),
    ),
    Service("b", API, ("ask:api.vendor.example.net", "tcp:[192.0.2.21]:443", "tcp:[192.0.2.21]:444")),
    Service(
        "c",
        UNTRUSTED,
        (f"udp:[{THIEF}]:4000", f"dns:x.exfil.example.com:{THIEFS_SERVER}", "ask:y.example.com"),
    ),
)
RULES = """
[[rule]]
name = "api"
names = ["api.vendor.example.net"]
[firewall]
dns = "reject"
"""


def test_observed_list_is_what_enforce_denies_on_the_same_traffic(lab: Lab) -> None:
    lists: list[set[tuple[Any, ...]]] = []
    keys = ("kind", "qtype", "address", "port", "user")
    for mode in (OBSERVE, ENFORCE):
        agent = lab.agent(mode + RULES)
        wire = lab.sniffer()
        work(lab, SAME)
        sent = {packet.dst for packet in wire.from_host()}
        expected = agent.cli_json("status")["kernel"]["denied_packets"]
        assert expected > 0
        wait_until(partial(tells, agent, expected), "every denied packet, in the list")
        lists.append({tuple(line[key] for key in keys) + named_in(line) for line in denied_lines(agent)})
        assert (THIEF in sent) is (mode is OBSERVE)
        agent.kill()
        lab.host.run(["nft", "flush", "ruleset"])
    assert lists[0] == lists[1]
    assert len(lists[0]) > 6


def tells(agent: Agent, packets: int) -> bool:
    return sum(int(line["count"]) for line in denied_lines(agent) if line["kind"] == "flow") == packets


def named_in(line: dict[str, Any]) -> tuple[str, ...]:
    """The name of a question; of a flow it is known where the name was let through."""
    return (line["name"],) if line["kind"] == "question" else ()
