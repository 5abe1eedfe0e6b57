"""Which name gave an address: the last one, for as long as it says something, of so many addresses."""

from __future__ import annotations

from dynallow.sight.known import Known


def test_at_tells_the_name_that_came_last() -> None:
    known = Known()
    known.note(b"addr", b"\1a\0", ("web",), 10.0)
    known.note(b"addr", b"\1b\0", (), 10.0)
    given = known.at(b"addr", 5.0)
    assert given is not None
    assert (given.name, given.rules) == (b"\1b\0", ())


def test_at_after_its_time_still_tells_a_rules_and_no_others() -> None:
    known = Known()
    known.note(b"one", b"\1a\0", ("web",), 10.0)
    known.note(b"two", b"\1b\0", (), 10.0)
    assert known.at(b"one", 11.0) is not None
    assert known.at(b"two", 11.0) is None


def test_note_of_too_many_forgets_what_was_told_longest_ago() -> None:
    known = Known(3)
    for number in range(5):
        known.note(bytes([number]), b"\1a\0", (), 10.0)
        known.note(b"\0", b"\1a\0", (), 10.0)
    assert len(known) == 3
    assert [number for number in range(5) if known.at(bytes([number]), 0.0)] == [0, 3, 4]
