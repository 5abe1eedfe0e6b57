"""From lists and counters to records: names, rules, reasons, whose it was; and the sums stay."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from dynallow.lease.grant import Limits
from dynallow.lease.ledger import Ledger
from dynallow.policy.names import parse_name
from dynallow.resolver.answer import Answer
from dynallow.resolver.seen import Batch
from dynallow.resolver.terms import Terms
from dynallow.settings import Settings
from dynallow.sight import joining
from dynallow.sight.joining import Joined, Joining, Missed
from dynallow.sight.unwritten import is_untold
from dynallow.usage.record import Record
from dynallow.wire import numbers as n
from tests.unit.resolver.host import policy, question

WWW, EVIL = "www.example.org", "evil.example"
ONE, TWO = ip_address("192.0.2.1").packed, ip_address("198.51.100.7").packed
POLICY = policy(web=WWW)
SETTINGS = Settings.model_validate({"mode": "enforce", "rule": [{"name": "web", "names": [WWW]}]})
TERMS = Terms(POLICY, Limits(), False, "nxdomain")
EMPTY = Batch(TERMS, [], [], [], {}, [], {})
NOTHING = Missed(0, 0)


class Tally(NamedTuple):
    denied: bool
    address: bytes
    protocol: int
    port: int
    uid: int | None
    packets: int


def told(name: str, *addresses: bytes, observe: bool = False) -> Any:
    wire = parse_name(name)
    verdict = POLICY.decide(wire, n.A, 0.0)
    records = tuple((wire, n.A, 300, address) for address in addresses)
    by_rule = tuple((rule, addresses) for rule in verdict.rules)
    return wire, n.A, verdict, Answer(0, records, (), by_rule, 300, 1300.0, 1300.0)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(Limits(), ["web"])


@pytest.fixture
def it(ledger: Ledger) -> Joining:
    return Joining(ledger, lambda: 1000.0, lambda: 5000.0)


def join(
    it: Joining, batch: Batch = EMPTY, *tallies: Tally, samples: Any = (), missed: Missed = NOTHING
) -> Joined:
    return it.join([batch], missed, tallies, samples, SETTINGS)


def shape(records: list[Record]) -> set[tuple[object, ...]]:
    return {
        (one.subject.decision, one.subject.why, one.subject.name, one.subject.rule, one.times)
        for one in records
    }


def test_questions_answered_either_way_are_counted_together(it: Joining) -> None:
    verdict = POLICY.decide(parse_name(EVIL), n.A, 0.0)
    batch = EMPTY._replace(
        refused=[(parse_name(EVIL), n.A, verdict)],
        denied={question(EVIL)[2:]: 4},
        kin=[question("Evil.Example")[2:]],
        filtered={question(WWW, "TXT")[2:]: 2},
        told=[told(WWW, ONE), told(WWW, ONE)],
    )
    joined = join(it, batch)
    assert shape(joined.records) == {
        ("denied", "not-listed", EVIL, "", 6),
        ("filtered", "type", WWW, "web", 2),
        ("allowed", "", WWW, "web", 2),
    }
    assert {(line.event, line.decision, line.times) for line in joined.lines} == {
        ("question", "denied", 6),
        ("question", "filtered", 2),
    }


def test_answer_that_was_leased_is_a_line_with_its_addresses(it: Joining) -> None:
    (line,) = join(it, EMPTY._replace(leased=[told(WWW, ONE, TWO)])).lines
    assert (line.event, line.name, line.addresses, line.rule, line.lease_s) == (
        "answer",
        WWW,
        ("192.0.2.1", "198.51.100.7"),
        "web",
        360.0,
    )


def test_flow_to_an_address_told_while_observing_has_the_name_that_gave_it(it: Joining) -> None:
    observing = EMPTY._replace(terms=replace(TERMS, observe=True), told=[told(EVIL, TWO)])
    records = join(it, observing, Tally(True, TWO, 6, 443, 1000, 4)).records
    assert shape(records) == {("denied", "name", EVIL, "", 4)}


def test_flow_to_a_leased_address_and_after_the_lease(it: Joining, ledger: Ledger) -> None:
    name = parse_name(WWW)
    ledger.commit([("web", ONE, 1100.0, name, True, False)])
    joined = join(
        it,
        EMPTY._replace(leased=[told(WWW, ONE)]),
        Tally(False, ONE, 6, 443, 1000, 5),
        Tally(True, ONE, 6, 80, 1000, 2),
    )
    assert shape(joined.records) == {("allowed", "", WWW, "web", 5), ("denied", "port", WWW, "web", 2)}
    ledger.drop("web", ONE)
    assert shape(join(it, EMPTY, Tally(True, ONE, 6, 443, 1000, 1)).records) == {
        ("denied", "lapsed", WWW, "web", 1)
    }


def test_samples_split_an_exact_count(it: Joining) -> None:
    def sample(process: str) -> Any:
        who = SimpleNamespace(user=1000, process=process, unit="ci.service", pid=None)
        return SimpleNamespace(kind="flow", who=who, address=TWO, protocol=6, port=443, name=b"", qtype=0)

    samples = [sample("curl"), sample("nc"), sample("curl"), sample("curl")]
    records = join(it, EMPTY, Tally(True, TWO, 6, 443, 1000, 8), samples=samples).records
    assert {(one.subject.process, one.subject.unit, one.times) for one in records} == {
        ("curl", "ci.service", 6),
        ("nc", "ci.service", 2),
    }
    (other,) = join(it, EMPTY, Tally(True, TWO, 6, 443, 1001, 8)).records
    assert (other.subject.user, other.subject.process) == (1001, "")


def test_sampled_question_has_its_user(it: Joining) -> None:
    who = SimpleNamespace(user=33, process="php", unit="", pid=None)
    asked = SimpleNamespace(kind="question", who=who, name=parse_name(EVIL), qtype=n.A)
    batch = EMPTY._replace(denied={question(EVIL)[2:]: 1})
    (one,) = join(it, batch, samples=[asked]).records
    assert (one.subject.user, one.subject.process) == (33, "php")


def test_flood_that_takes_longer_than_it_may_is_counted_untold(
    it: Joining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "BUDGET_S", 0.005)
    packet = question("n00000.example")[2:]
    asked = {packet.replace(b"00000", b"%05d" % number): 1 for number in range(20_000)}
    verdict = POLICY.decide(parse_name(EVIL), n.A, 0.0)
    batch = EMPTY._replace(denied=asked, refused=[(parse_name(EVIL), n.A, verdict)] * 10)
    records = join(it, batch).records
    assert sum(one.times for one in records) == 20_010
    assert 10_000 < sum(one.times for one in records if is_untold(one.subject)) <= 20_010


def test_what_was_missed_is_untold_by_its_kind(it: Joining) -> None:
    records = join(it, missed=Missed(3, 5)).records
    assert {(one.subject.kind, one.times, is_untold(one.subject)) for one in records} == {
        ("question", 3, True),
        ("flow", 5, True),
    }


def test_flood_of_flows_that_takes_longer_than_it_may_keeps_the_allowed_and_the_sum(
    it: Joining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "FLOWS_S", 0.0)
    tallies = [Tally(True, number.to_bytes(4, "big"), 6, 443, 0, 2) for number in range(200)]
    records = join(it, EMPTY, *tallies, Tally(False, ONE, 6, 443, 0, 5)).records
    assert sum(one.times for one in records if one.subject.decision == "denied") == 400
    assert sum(one.times for one in records if one.subject.decision == "allowed") == 5
    assert len(records) < 100


def test_lines_of_a_flood_are_bounded_and_counted(it: Joining, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "FLOWS_S", 60.0)
    tallies = [Tally(True, number.to_bytes(4, "big"), 6, 443, 0, 1) for number in range(2000)]
    joined = join(it, EMPTY, *tallies)
    assert len(joined.records) == 2000
    assert (len(joined.lines), joined.more) == (joining.LINES_MAX, 2000 - joining.LINES_MAX)
