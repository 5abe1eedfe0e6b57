"""Running totals: sums are exact whatever is folded, and nobody can grow their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dynallow.usage.record import Record, Subject
from dynallow.usage.totals import OTHER, SERIES_MAX, USERS_MAX, Labels, Totals


def record(times: int = 1, **more: Any) -> Record:
    subject = Subject(
        "flow", "denied", "enforce", "port", "", "", "192.0.2.1", "tcp/444", "web", 7, "curl", ""
    )
    return Record(subject._replace(**more), times, 1.0, 2.0)


def totals(records: Sequence[Record]) -> Totals:
    made = Totals()
    for one in records:
        made.add(one)
    return made


def test_denials_are_counted_by_who_and_why_and_not_by_name_or_address() -> None:
    made = totals([record(2), record(3, address="192.0.2.2", name="x.example", process="wget")])
    assert made.denied() == {Labels("flow", "enforce", "port", "web", "tcp", "7"): 5}


def test_question_without_a_user_is_told_as_such() -> None:
    made = totals([record(kind="question", why="not-listed", port="", rule="", user=None)])
    assert list(made.denied()) == [Labels("question", "enforce", "not-listed", "", "dns", "unknown")]


def test_what_could_not_be_told_apart_is_counted_as_unknown() -> None:
    assert next(iter(totals([record(why="", user=None)]).denied())).why == "unknown"


def test_allowed_flows_are_counted_by_rule_and_questions_not() -> None:
    allowed = [record(4, decision="allowed", why=""), record(kind="question", decision="allowed", why="")]
    made = totals(allowed)
    assert made.used() == {"web": 4}
    assert not made.denied()


def test_users_beyond_the_cap_are_others() -> None:
    made = totals([record(user=uid) for uid in range(USERS_MAX + 10)])
    assert len(made.denied()) == USERS_MAX + 1
    assert made.denied()[Labels("flow", "enforce", "port", "web", "tcp", OTHER)] == 10
    made.add(record(user=3))
    assert made.denied()[Labels("flow", "enforce", "port", "web", "tcp", "3")] == 2


def test_protocols_that_a_stranger_thinks_up_are_others() -> None:
    made = totals([record(port=str(number)) for number in range(255)])
    assert {labels.protocol for labels in made.denied()} == {OTHER}


@given(
    st.lists(
        st.builds(
            record,
            st.integers(1, 9),
            user=st.integers(0, 200),
            rule=st.text(max_size=2),
            why=st.sampled_from(["port", "user", "no-name"]),
            port=st.text(max_size=3),
        ),
        max_size=60,
    )
)
def test_sums_are_exact(records: list[Record]) -> None:
    assert sum(totals(records).denied().values()) == sum(one.times for one in records)


def test_combinations_beyond_the_cap_are_folded_and_sums_stay_exact() -> None:
    many = SERIES_MAX * 2
    made = totals([record(rule=f"rule-{number}") for number in range(many)])
    assert len(made.denied()) == SERIES_MAX + 1
    assert sum(made.denied().values()) == many
