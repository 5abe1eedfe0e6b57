"""How many names the agent asks for by itself, at most, and for which leases."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from dynallow import living
from dynallow.firewall.flows import Flow
from dynallow.firewall.probe import Features
from dynallow.lease.grant import Grant, Limits
from dynallow.lease.ledger import Ledger
from dynallow.settings import Settings
from dynallow.tasks import Tasks

HERE = bytes([10, 0, 0, 1])
SETTINGS: dict[str, Any] = {
    "rule": [
        {"name": "web", "names": ["*.example.org"], "ports": ["tcp/443"]},
        {"name": "apt", "names": ["*.example.net"], "ports": ["tcp/80"]},
    ],
    "lease": {"min": "60s", "grace": "0s"},
}


@dataclass
class Asker:
    """A road that notes what it is asked."""

    now: float = 0.0
    asked: list[tuple[bytes, int, str]] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    async def ask_anew(self, name: bytes, qtype: int, rule: str) -> bool:
        self.asked.append((name, qtype, rule))
        return True


@dataclass
class Bed:
    """Leases, all of which have a living flow."""

    ledger: Ledger
    road: Asker
    living: living.Living
    tasks: Tasks

    def look(self) -> list[tuple[bytes, int, str]]:
        """What one round asks."""

        async def work() -> None:
            await self.living.look()
            while len(self.tasks):  # noqa: ASYNC110 - the tasks that it has begun
                await asyncio.sleep(0)

        self.road.asked.clear()
        asyncio.run(work())
        return list(self.road.asked)


class _Table:
    features = Features()


@pytest.fixture
def bed(monkeypatch: pytest.MonkeyPatch) -> Bed:
    ledger, road, tasks = Ledger(Limits(0.0, 60.0), ["web", "apt"]), Asker(), Tasks()

    def flows_to(addresses: set[bytes], *, filtered: bool) -> list[Flow]:
        return [Flow(6, HERE, 40000, address, 443, 0, True, b"") for address in sorted(addresses)]

    monkeypatch.setattr("dynallow.firewall.conntrack.flows_to", flows_to)
    table = cast(Any, _Table())
    made = living.Living(table, ledger, cast(Any, road), frozenset({HERE}), tasks)
    made.follow(Settings.model_validate(SETTINGS))
    return Bed(ledger, road, made, tasks)


def lease(bed: Bed, rule: str, count: int) -> None:
    grants = [
        Grant(rule, (bytes([192, 0, number // 256, number % 256]),), 0, b"\4n%03d\0" % number)
        for number in range(count)
    ]
    bed.ledger.commit(bed.ledger.plan(grants, bed.road.now)[0])


def test_look_asks_for_a_lease_about_to_lapse_and_not_before(bed: Bed) -> None:
    lease(bed, "web", 1)
    bed.road.now = 20.0
    assert bed.look() == []
    bed.road.now = 40.0
    assert bed.look() == [(b"\4n000\0", 1, "web")]


def test_look_asks_for_one_lease_three_times_at_most(bed: Bed) -> None:
    lease(bed, "web", 1)
    bed.road.now = 40.0
    assert [len(bed.look()) for _ in range(5)] == [1, 1, 1, 0, 0]


def test_look_flow_on_a_port_that_is_not_the_rules_keeps_nothing(bed: Bed) -> None:
    lease(bed, "apt", 1)
    bed.road.now = 40.0
    assert bed.look() == []


def test_look_many_names_of_one_rule_are_half_of_a_round_at_most_and_counted(bed: Bed) -> None:
    lease(bed, "web", 100)
    bed.road.now = 40.0
    assert len(bed.look()) == 32
    assert (bed.living.counts.asked, bed.living.counts.passed_over) == (32, 68)


def test_look_names_of_a_rule_in_ten_minutes_are_bounded(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(living, "_OF_A_RULE", 40)
    lease(bed, "web", 100)
    bed.road.now = 40.0
    assert [len(bed.look()) for _ in range(2)] == [32, 8]


def test_look_switched_off_asks_for_nothing(bed: Bed) -> None:
    off = {**SETTINGS, "lease": {**SETTINGS["lease"], "keep-alive": False}}
    bed.living.follow(Settings.model_validate(off))
    lease(bed, "web", 1)
    bed.road.now = 40.0
    assert bed.look() == []
