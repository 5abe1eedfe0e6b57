"""Zones above the targets of answers: for how long, how many, of which records."""

from __future__ import annotations

import pytest

from dynallow.policy.names import parse_name
from dynallow.resolver.zones import ZONES_MAX, Zones
from dynallow.wire.response import Record

DEB = parse_name("deb.example.org")
TARGET = parse_name("cdn.example.net")


@pytest.mark.parametrize(
    "record",
    [
        Record(DEB, 5, 300, TARGET),
        Record(DEB, 33, 300, bytes(6) + TARGET),
        Record(DEB, 64, 300, b"\0\0" + TARGET),
        Record(DEB, 65, 300, b"\0\1" + TARGET),
    ],
)
def test_note_target_of_any_kind_and_all_above_it_count_until_a_while_after_the_end(record: Record) -> None:
    zones = Zones()
    zones.note([record], 100.0)
    for name in ("cdn.example.net", "example.net", "net", "."):
        assert zones.is_above(parse_name(name), 129.0)
        assert not zones.is_above(parse_name(name), 130.0)
    for name in ("x.cdn.example.net", "example.org", "deb.example.org"):
        assert not zones.is_above(parse_name(name), 0.0)


def test_note_other_records_point_nowhere() -> None:
    zones = Zones()
    zones.note(
        [Record(DEB, 1, 300, bytes(4)), Record(DEB, 2, 300, TARGET), Record(DEB, 15, 300, b"\0\1" + TARGET)],
        1.0,
    )
    assert len(zones) == 0


def test_note_an_earlier_end_takes_nothing_away() -> None:
    zones = Zones()
    zones.note([Record(DEB, 5, 300, TARGET)], 100.0)
    zones.note([Record(DEB, 5, 300, TARGET)], 50.0)
    assert zones.is_above(TARGET, 129.0)


def test_note_more_than_fit_lets_the_oldest_go() -> None:
    zones = Zones()
    for number in range(ZONES_MAX):
        zones.note([Record(DEB, 5, 300, parse_name(f"n{number}.example"))], 100.0)
    assert (len(zones), zones.evicted) == (ZONES_MAX, 2)
    assert not zones.is_above(parse_name("n0.example"), 0.0)
    assert zones.is_above(parse_name(f"n{ZONES_MAX - 1}.example"), 0.0)
    assert zones.is_above(parse_name("example"), 0.0)
