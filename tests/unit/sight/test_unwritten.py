"""Counts on their way to the file: by the minute, bounded, and never less than what was added."""

from __future__ import annotations

from dynallow.sight.unwritten import Unwritten, is_untold
from tests.unit.sight.subjects import MINUTE, question, record


def test_add_counts_a_subject_by_the_minute() -> None:
    unwritten = Unwritten()
    for at, times in ((MINUTE + 1.0, 2), (MINUTE + 59.9, 3), (MINUTE + 60.0, 4)):
        unwritten.add(record(times=times, at=at))
    assert [(minute, told.times, told.first, told.last) for minute, told in unwritten.rows()] == [
        (MINUTE, 5, MINUTE + 1.0, MINUTE + 59.9),
        (MINUTE + 60, 4, MINUTE + 60.0, MINUTE + 60.0),
    ]


def test_add_of_more_subjects_than_there_is_room_for_is_counted_untold() -> None:
    unwritten = Unwritten(10)
    for number in range(100):
        unwritten.add(record(f"n{number}.example", 2))
        unwritten.add(record("n0.example"))
    rows = unwritten.take()
    assert len(rows) == 11
    assert sum(told.times for _, told in rows) == 300
    assert [told.times for _, told in rows if is_untold(told.subject)] == [180]
    assert unwritten.take() == []


def test_add_of_too_many_allowed_ones_keeps_their_rule() -> None:
    unwritten = Unwritten(0)
    allowed = question("www.example.org", "allowed")._replace(rule="web")
    unwritten.add(record()._replace(subject=allowed))
    ((_, told),) = unwritten.take()
    assert (told.subject.rule, told.subject.name, is_untold(told.subject)) == ("web", "", False)


def test_give_back_adds_to_what_came_meanwhile() -> None:
    unwritten = Unwritten()
    unwritten.add(record(times=2))
    rows = unwritten.take()
    unwritten.add(record(times=3))
    unwritten.give_back(rows)
    assert [told.times for _, told in unwritten.rows()] == [5]
