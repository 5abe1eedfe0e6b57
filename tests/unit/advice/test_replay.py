"""Other settings against what was recorded: what was used and would break, what would open, what stays."""

from __future__ import annotations

from pathlib import Path

from dynallow.advice.replay import replay
from tests.unit.advice.recordings import NOW, asked, flow, loaded, question, used

HOST = "198.51.100.7"
RECORDS = [
    asked("deb.example", "mirror", 5),
    used("deb.example", HOST, "mirror", user=42),
    question("new.example", 4),
    flow("new.example", "198.51.100.9", times=2),
    question("never.example"),
]


def settings(ports: str = '["tcp/443"]', names: str = '["deb.example"]', more: str = "") -> str:
    return f'[[rule]]\nname = "mirror"\nnames = {names}\nports = {ports}\n{more}'


def names(changes: object) -> list[tuple[str, str]]:
    assert isinstance(changes, tuple)
    return [(each.record.subject.kind, each.record.subject.name) for each in changes]


def test_replay_of_the_same_settings_breaks_nothing(tmp_path: Path) -> None:
    replayed = replay(RECORDS, loaded(tmp_path, settings()), NOW)
    assert (replayed.newly_denied, replayed.newly_allowed) == ((), ())
    assert (replayed.unchanged, replayed.unchanged_times) == (5, 17)


def test_replay_without_a_name_in_use_breaks_its_questions_and_connections(tmp_path: Path) -> None:
    replayed = replay(RECORDS, loaded(tmp_path, settings(names='["new.example"]')), NOW)
    assert names(replayed.newly_denied) == [("question", "deb.example"), ("flow", "deb.example")]
    assert names(replayed.newly_allowed) == [("question", "new.example"), ("flow", "new.example")]
    assert [each.ruling.why for each in replayed.newly_denied] == ["not-listed", "name"]


def test_replay_without_a_port_or_user_in_use_breaks_the_connections_alone(tmp_path: Path) -> None:
    for change in (settings(ports='["tcp/80"]'), settings(more="users = [7]\n")):
        replayed = replay(RECORDS, loaded(tmp_path, change), NOW)
        assert names(replayed.newly_denied) == [("flow", "deb.example")]


def test_replay_of_a_rule_that_expires_breaks_from_the_day_after(tmp_path: Path) -> None:
    ending = loaded(tmp_path, settings(more="expires = 2027-01-31\n"))
    assert replay(RECORDS, ending, NOW + 16 * 86400).newly_denied == ()
    assert len(replay(RECORDS, ending, NOW + 17 * 86400).newly_denied) == 2


def test_replay_of_a_destination_by_address(tmp_path: Path) -> None:
    destination = '[[destination]]\nname = "d"\naddresses = ["192.0.2.0/24"]\nports = ["udp/123"]\n'
    record = used("", "192.0.2.9", "d", "udp/123")
    assert replay([record], loaded(tmp_path, destination), NOW).newly_denied == ()
    assert names(replay([record], loaded(tmp_path, settings()), NOW).newly_denied) == [("flow", "")]


def test_replay_what_observing_would_have_denied_is_not_in_use(tmp_path: Path) -> None:
    records = [question("x.example", mode="observe"), flow("x.example", HOST, mode="observe")]
    assert replay(records, loaded(tmp_path, ""), NOW).newly_denied == ()


def test_replay_what_was_denied_before_it_was_allowed_is_not_newly_allowed(tmp_path: Path) -> None:
    early = [question("deb.example", ago=600, user=42), flow("deb.example", HOST, ago=600, user=42)]
    replayed = replay([*RECORDS[:2], *early], loaded(tmp_path, settings()), NOW)
    assert (replayed.newly_allowed, replayed.unchanged) == ((), 4)
    # What is tried now, denied and then taken back, was in use all the same.
    late = flow("deb.example", HOST, ago=1, user=42, mode="enforce", why="port", rule="mirror")
    broken = replay([*RECORDS[:2], late], loaded(tmp_path, settings(ports='["tcp/80"]')), NOW)
    assert names(broken.newly_denied) == [("flow", "deb.example")]
