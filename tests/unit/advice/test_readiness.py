"""Readiness: what the settings in force would deny, and what is not held against them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynallow.advice.readiness import Readiness, readiness
from dynallow.usage.record import Decision, Record, Subject, Why
from tests.unit.advice.recordings import NOW, loaded, question

DAY_S = 86400.0
RULES = """
[resolver]
search-suffixes = ["corp.example"]
[[rule]]
name = "web"
names = [".example.org"]
except = ["tracker.example.org"]
"""


def ready(tmp_path: Path, *records: Record, days: float = 3.0) -> Readiness:
    began = NOW - days * DAY_S
    return readiness(records, loaded(tmp_path, RULES), NOW, NOW - 7 * DAY_S, began)


def flow(why: Why, port: str, *, name: str = "", decision: Decision = "denied") -> Record:
    subject = Subject("flow", decision, "observe", why, name, "", "198.51.100.7", port, "", 33, "curl", "")
    return Record(subject, 5, NOW - 60, NOW - 30)


def test_denials_that_are_left_are_told_by_who_and_mean_not_yet(tmp_path: Path) -> None:
    found = ready(
        tmp_path,
        question("telemetry.example.com", 7, user=33, process="curl", unit="api.service"),
        question("telemetry.example.com", 2, user=33, process="curl", unit="api.service", qtype="AAAA"),
        flow("no-name", "tcp/443"),
        question("telemetry.example.com", 1, user=33),  # whose process was gone already
    )
    assert found.verdict == "not-yet"
    assert [(g.subject.name or g.subject.address, g.subject.process, g.times) for g in found.left] == [
        ("telemetry.example.com", "curl", 10),
        ("198.51.100.7", "curl", 5),
    ]
    assert sum(group.times for group in found.left) == 15
    assert found.left[1].ports == {"tcp/443"}
    assert found.newest == NOW - 60
    assert "3d observed, 15 would-be denials left of 2 kinds, the last new one 1m ago" in found.text


def test_what_the_rules_allow_by_now_is_not_held_against_them(tmp_path: Path) -> None:
    found = ready(
        tmp_path, question("www.example.org"), question("b.example.org", decision="allowed", why="")
    )
    assert (found.verdict, found.left) == ("ready", ())


def test_what_nobody_waits_for_and_what_is_meant_stand_apart(tmp_path: Path) -> None:
    found = ready(
        tmp_path,
        question("7.100.51.198.in-addr.arpa", 1, qtype="PTR"),
        question("www.example.com.corp.example", 2),
        question("www.example.org", 4, qtype="TXT", decision="filtered", why="type"),
        question("tracker.example.org", 8, why="excepted"),
        flow("dns", "udp/53"),
    )
    assert (found.verdict, found.harmless, found.meant) == ("ready", 7, 8)
    assert [group.times for group in found.bypasses] == [5]


def test_denials_of_mode_enforce_are_no_would_be_denials(tmp_path: Path) -> None:
    assert ready(tmp_path, question("a.example.com", mode="enforce")).left == ()


@pytest.mark.parametrize(("days", "verdict"), [(0.5, "too-little-seen"), (1.5, "ready")])
def test_less_than_a_day_is_too_little(tmp_path: Path, days: float, verdict: str) -> None:
    assert ready(tmp_path, question("www.example.org"), days=days).verdict == verdict


def test_nothing_at_all_is_too_little_however_long(tmp_path: Path) -> None:
    assert ready(tmp_path).verdict == "too-little-seen"


def test_days_that_were_enforced_in_between_are_not_observed(tmp_path: Path) -> None:
    settings, seen = loaded(tmp_path, RULES), question("www.example.org", ago=6 * DAY_S)
    modes = [(NOW - 6 * DAY_S + 3600, "enforce"), (NOW - 600, "observe")]
    found = readiness([seen], settings, NOW, NOW - 7 * DAY_S, NOW - 600, modes)
    assert found.observed_s == pytest.approx(3600 + 60 + 60 + 600, abs=61)
    assert found.verdict == "too-little-seen"
    again = [*modes, (NOW - 300, "observe")]  # a restart, or a reload
    assert readiness([seen], settings, NOW, NOW - 7 * DAY_S, NOW - 300, again) == found
