"""Records: sums that do not depend on order, and signs that outlive a change of the rules."""

from __future__ import annotations

from itertools import permutations

from dynallow.usage.record import Record, Subject, ident, total

FLOW = Subject(
    "flow", "denied", "observe", "no-name", "", "", "198.51.100.7", "tcp/443", "", 1000, "curl", "ci.service"
)


def test_total_in_any_order_is_the_same() -> None:
    other = FLOW._replace(port="tcp/80")
    records = [Record(FLOW, 2, 10.0, 20.0), Record(other, 4, 1.0, 1.0), Record(FLOW, 3, 5.0, 15.0)]
    wanted = [Record(FLOW, 5, 5.0, 20.0), Record(other, 4, 1.0, 1.0)]
    assert all(total(order) == wanted for order in permutations(records))


def test_total_of_many_is_in_order() -> None:
    """It is sorted in parts: the order must not show where one ends."""
    records = [Record(FLOW._replace(user=uid), uid * 7919 % 2003, uid, uid) for uid in range(2000)]
    assert total(records) == sorted(records, key=lambda record: -record.times)


def test_ident_after_rules_changed_is_the_same_and_of_another_port_is_not() -> None:
    later = FLOW._replace(decision="allowed", mode="enforce", why="", rule="api", process="", unit="")
    assert ident(later) == ident(FLOW) != ident(FLOW._replace(port="tcp/444"))
    assert ident(FLOW)[0] == "@"
    assert len(ident(FLOW)) == 7
