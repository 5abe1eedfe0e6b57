"""What settings make of a record: each reason of each kind, and what a record does not tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynallow.advice.ruling import Court
from dynallow.usage.record import Record
from tests.unit.advice.recordings import NOW, asked, flow, loaded, question, used

RULES = """
[[rule]]
name = "mirror"
names = [".debian.example"]
except = ["tracker.debian.example"]
ports = ["tcp/80", "tcp/6000-6010"]
users = [42]
private = ["10.0.0.0/8"]
[[rule]]
name = "old"
names = ["old.example"]
expires = 2027-01-14
[[rule]]
name = "web"
names = ["web.example", "deb.debian.example"]
types = ["A", "TXT"]
[[destination]]
name = "ntp"
addresses = ["192.0.2.0/28"]
ports = ["udp/123"]
users = [7]
"""
HOST = "198.51.100.7"


@pytest.fixture
def court(tmp_path: Path) -> Court:
    return Court(loaded(tmp_path, RULES), NOW)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (question("x.debian.example"), ("allowed", "", ("mirror",))),
        (question("deb.debian.example"), ("allowed", "", ("mirror", "web"))),
        (question("_http._tcp.deb.debian.example", qtype="SRV"), ("allowed", "", ("mirror",))),
        (question("deb.debian.example", qtype="TXT"), ("allowed", "", ("web",))),
        (question("x.debian.example", qtype="MX"), ("filtered", "type", ("mirror",))),
        (question("tracker.debian.example"), ("denied", "excepted", ("mirror",))),
        (question("old.example"), ("denied", "expired", ("old",))),
        (question("other.example"), ("denied", "not-listed", ())),
        (question("x.onion", why="reserved"), ("denied", "reserved", ())),
        (question("localhost", decision="allowed", why=""), ("allowed", "", ())),
        (question('a b".example'), ("denied", "not-listed", ())),
        (flow("x.debian.example", HOST, "tcp/80", user=42), ("allowed", "", ("mirror",))),
        (flow("x.debian.example", HOST, "tcp/6005", user=42), ("allowed", "", ("mirror",))),
        (flow("x.debian.example", HOST, "tcp/80", user=43), ("denied", "user", ("mirror",))),
        (flow("x.debian.example", HOST, "tcp/80", user=None), ("denied", "user", ("mirror",))),
        (flow("x.debian.example", HOST, "udp/80", user=42), ("denied", "port", ("mirror",))),
        (flow("deb.debian.example", HOST, "tcp/443", user=43), ("allowed", "", ("web",))),
        (flow("x.debian.example", "10.1.1.1", "tcp/80", user=42), ("allowed", "", ("mirror",))),
        (flow("web.example", "10.1.1.1"), ("denied", "private", ("web",))),
        (flow("web.example", "2001:db8::1"), ("denied", "type", ())),
        (flow("tracker.debian.example", HOST, "tcp/80", user=42), ("denied", "excepted", ())),
        (flow("old.example", HOST), ("denied", "expired", ())),
        (flow("other.example", HOST), ("denied", "name", ())),
        (flow("web.example", HOST, why="lapsed"), ("denied", "lapsed", ("web",))),
        (flow("", HOST, why="no-name"), ("denied", "no-name", ())),
        (flow("", "192.0.2.3", "udp/123", user=7, why="no-name"), ("allowed", "", ("ntp",))),
        (flow("", "192.0.2.3", "udp/123", user=8, why="no-name"), ("denied", "user", ("ntp",))),
        (flow("web.example", HOST, "udp/53", why="dns"), ("denied", "dns", ())),
        (flow("web.example", HOST, "icmp"), ("denied", "protocol", ())),
        (flow("", HOST, decision="allowed", why="", rule="web"), ("allowed", "", ("web",))),
        (flow("", HOST, "tcp/1", decision="allowed", why="", rule="web"), ("denied", "port", ("web",))),
        (flow("", HOST, decision="allowed", why="", rule="taken-away"), ("denied", "no-name", ())),
        (flow("", "", decision="allowed", why=""), ("allowed", "", ())),
    ],
)
def test_judge_record_of_each_kind_gives_decision_reason_and_rules(
    court: Court, record: Record, expected: tuple[str, str, tuple[str, ...]]
) -> None:
    assert tuple(court.judge(record.subject)) == expected


def test_judge_derived_name_goes_by_the_rules_that_are_left(tmp_path: Path) -> None:
    edge = question("edge.cdn.example", decision="allowed", why="derived", rule="web,taken-away")
    via = used("edge.cdn.example", HOST, "web")
    settings = loaded(tmp_path, RULES)
    court = Court(settings, NOW, [edge, via])
    assert court.judge(edge.subject) == ("allowed", "", ("web",))
    assert court.judge(via.subject) == ("allowed", "", ("web",))
    alone = edge.subject._replace(rule="taken-away")
    assert court.judge(alone).decision == "denied"


def test_judge_name_that_was_taken_from_its_rule_is_denied(tmp_path: Path) -> None:
    records = [asked("gone.example", "web"), used("gone.example", HOST, "web")]
    court = Court(loaded(tmp_path, RULES), NOW, records)
    assert [court.judge(each.subject).decision for each in records] == ["denied", "denied"]


def test_judge_flow_of_an_address_that_a_denied_name_gave_too_goes_by_its_rule(tmp_path: Path) -> None:
    records = [question("stranger.example"), used("stranger.example", HOST, "web")]
    court = Court(loaded(tmp_path, RULES), NOW, records)
    assert court.judge(records[1].subject) == ("allowed", "", ("web",))
