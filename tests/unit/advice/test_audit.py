"""What no longer earns its place: each kind of finding, where it must come and where it must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynallow.advice.audit import KINDS, NAMES_MAX, Audit, audit, names_to_ask
from dynallow.usage.record import Record
from tests.unit.advice.recordings import NOW, asked, flow, loaded, question, used

DAY = 86400.0
LONG_AGO = NOW - 90 * DAY
HOST = "198.51.100.7"
GOOD = 'reason = "needed"\nowner = "us"\n'
RULE = f'[[rule]]\nname = "web"\nnames = ["a.example"]\nusers = [1000]\n{GOOD}'


def look(
    tmp_path: Path,
    rules: str,
    *records: Record,
    begins: float | None = LONG_AGO,
    gone: dict[str, str] | None = None,
) -> Audit:
    return audit(records, loaded(tmp_path, rules), NOW, begins=begins, gone=gone, users={1000: "ci"})


def kinds(audited: Audit) -> list[tuple[str, str]]:
    return [(finding.section, finding.kind) for finding in audited.findings]


USE = (asked("a.example", "web"), used("a.example", HOST, "web"))


def test_rule_in_use_with_reason_and_owner_is_nothing_to_find(tmp_path: Path) -> None:
    assert look(tmp_path, RULE, *USE) == ((), ())


def test_rule_without_papers_is_found_and_a_destination_without_reason(tmp_path: Path) -> None:
    bare = (
        RULE.replace(GOOD, "")
        + '[[destination]]\nname = "d"\naddresses = ["192.0.2.1"]\nports = ["udp/123"]\n'
    )
    found = kinds(look(tmp_path, bare, *USE, used("", "192.0.2.1", "d", "udp/123", user=None)))
    assert found == [("web", "no-reason"), ("web", "no-owner"), ("d", "no-reason")]


@pytest.mark.parametrize(
    ("day", "kind"),
    [
        ("2027-01-14", "expired"),
        ("2027-01-15", "expires-soon"),
        ("2027-02-13", "expires-soon"),
        ("2027-03-01", ""),
    ],
)
def test_rule_that_ends_is_told_by_how_soon(tmp_path: Path, day: str, kind: str) -> None:
    found = [
        each for _, each in kinds(look(tmp_path, RULE + f"expires = {day}\n", *USE)) if each.startswith("exp")
    ]
    assert found == ([kind] if kind else [])


def test_unused_rule_is_told_only_where_the_records_reach_back(tmp_path: Path) -> None:
    old = (asked("a.example", "web", ago=40 * DAY), used("a.example", HOST, "web", ago=40 * DAY))
    (finding,) = look(tmp_path, RULE, *old).findings
    assert (finding.kind, finding.text) == ("unused", "nothing since 2026-12-06")
    for begins in (NOW - 29 * DAY, None):
        audited = look(tmp_path, RULE, *old, begins=begins)
        assert audited.findings == ()
        assert "cannot be told yet" in audited.notes[0]


def test_rule_that_is_asked_for_and_never_connected_to_is_unused(tmp_path: Path) -> None:
    (finding,) = look(tmp_path, RULE, asked("a.example", "web"), flow("b.example", HOST)).findings
    assert finding.text == "asked for 3 ×, last on 2027-01-15, but no connection"


def test_where_no_connection_is_recorded_at_all_questions_are_use(tmp_path: Path) -> None:
    destination = (
        '[[destination]]\nname = "d"\naddresses = ["192.0.2.1"]\nports = ["udp/123"]\nreason = "r"\n'
    )
    audited = look(tmp_path, RULE + destination, asked("a.example", "web"))
    assert audited.findings == ()
    assert "no connection is recorded at all" in audited.notes[0]


def test_wider_than_its_use_is_told_of_names_ports_users_and_types(tmp_path: Path) -> None:
    rules = (
        '[[rule]]\nname = "web"\nnames = ["a.example", "idle.example", "*.w.example", "*.many.example"]\n'
        f'ports = ["tcp/443", "tcp/80", "tcp/6000-6010"]\nusers = [1000, 7]\ntypes = ["A", "TXT"]\n{GOOD}'
    )
    records = [
        *USE,
        used("one.w.example", HOST, "web", "tcp/6001"),
        used("two.w.example", HOST, "web", "tcp/6002"),
    ]
    records += [used(f"n{number}.many.example", HOST, "web") for number in range(3)]
    audited = look(tmp_path, rules, *records)
    assert [(finding.kind, finding.text) for finding in audited.findings] == [
        ("unused-name", "idle.example: a pattern that no name in use fitted"),
        ("wide-name", "*.w.example was used for one.w.example and two.w.example alone"),
        ("wide-ports", "nothing used tcp/80"),
        ("wide-ports", "of tcp/6000-6010 nothing but tcp/6001-6002 was used"),
        ("wide-users", "not used by 7"),
        ("wide-types", "nobody asked for TXT"),
    ]


def test_rule_open_to_every_user_that_one_used_is_wide(tmp_path: Path) -> None:
    open_to_all = RULE.replace("users = [1000]\n", "")
    (finding,) = look(tmp_path, open_to_all, *USE).findings
    assert finding.text == "open to every user, used by ci alone"
    assert look(tmp_path, open_to_all, *USE, used("a.example", HOST, "web", user=None)).findings == ()


def test_names_that_are_gone_are_told_and_only_unconnected_ones_asked_for(tmp_path: Path) -> None:
    rules = RULE.replace('["a.example"]', '["a.example", "b.example", "*.c.example", ".d.example"]')
    assert names_to_ask(USE, loaded(tmp_path, rules), NOW) == (["b.example", "d.example"], 0)
    found = look(tmp_path, rules, *USE, gone={"b.example": "NXDOMAIN"}).findings
    assert [(finding.text, finding.name) for finding in found if finding.kind == "gone"] == [
        ("b.example: NXDOMAIN", "b.example")
    ]


def test_names_to_ask_are_bounded_and_allowed_ones(tmp_path: Path) -> None:
    many = ", ".join(f'"n{number}.example"' for number in range(NAMES_MAX + 7))
    names, more = names_to_ask((), loaded(tmp_path, f'[[rule]]\nname = "m"\nnames = [{many}]\n'), NOW)
    assert (len(names), more) == (NAMES_MAX, 7)
    ended = '[[rule]]\nname = "m"\nnames = ["a.example"]\nexpires = 2020-01-01\n'
    assert names_to_ask((), loaded(tmp_path, ended), NOW) == ([], 0)


def test_address_of_an_allowed_and_a_denied_name_is_shared(tmp_path: Path) -> None:
    evil = (question("evil.example.net"), flow("evil.example.net", HOST))
    (finding,) = look(tmp_path, RULE, *USE, *evil).findings
    assert (finding.kind, finding.text) == (
        "shared",
        f"a.example shares {HOST} with evil.example.net, which is denied",
    )
    # The denied name was the last to give the address, which is how the rule's own flows are told by then.
    late = used("evil.example.net", HOST, "web")
    (finding,) = look(tmp_path, RULE, USE[0], evil[0], late).findings
    assert finding.text == f"a name of this rule shares {HOST} with evil.example.net, which is denied"
    derived = question("edge.example.net", decision="allowed", why="derived", rule="web")
    assert look(tmp_path, RULE, *USE, derived, used("edge.example.net", HOST, "web")).findings == ()


def test_rule_and_destination_that_another_covers_are_found_once(tmp_path: Path) -> None:
    twin = RULE.replace('"web"', '"web-2"')
    destinations = "".join(
        f'[[destination]]\nname = "d{number}"\naddresses = ["{net}"]\nports = ["udp/123"]\nreason = "time"\n'
        for number, net in enumerate(("192.0.2.9", "192.0.2.0/24"))
    )
    found = kinds(look(tmp_path, RULE + twin + destinations, begins=None))
    assert found == [("web-2", "covered"), ("d0", "covered")]


def test_question_of_the_type_that_audit_asks_is_no_use(tmp_path: Path) -> None:
    own = asked("a.example", "web", qtype="SVCB")
    assert kinds(look(tmp_path, RULE, own, flow("b.example", HOST))) == [("web", "unused")]


def test_every_kind_of_finding_has_a_meaning() -> None:
    assert all(KINDS.values())
