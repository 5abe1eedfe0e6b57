"""Exact counts split by samples: the parts add up, and a sample is worth one at least."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dynallow.sight.shares import LABELS_MAX, Shares, shared


def noted(*labels: str, size: int = 10) -> Shares[str, str]:
    shares: Shares[str, str] = Shares(size)
    for label in labels:
        shares.note("flow", label)
    return shares


def test_split_by_as_many_samples_as_were_counted_is_what_they_say() -> None:
    assert noted("curl", "nc", "curl").split("flow", 3, "") == {"curl": 2, "nc": 1}


def test_split_of_more_than_was_sampled_is_in_their_proportion() -> None:
    assert noted("curl", "nc", "curl", "curl").split("flow", 10, "") == {"curl": 8, "nc": 2}


def test_split_leaves_samples_that_came_early_to_the_next_count() -> None:
    shares = noted("curl", "nc")
    assert shares.split("flow", 1, "") == {"curl": 1}
    assert shares.split("flow", 1, "") == {"nc": 1}


def test_split_without_samples_of_its_own_goes_by_the_last_ones_until_these_are_forgotten() -> None:
    shares = noted("curl")
    assert shares.split("flow", 1, "") == {"curl": 1}
    assert shares.split("flow", 5, "") == {"curl": 5}
    shares.forget()
    assert shares.split("flow", 5, "nobody") == {"nobody": 5}


def test_note_of_more_than_may_be_remembered_forgets_the_oldest() -> None:
    shares: Shares[int, int] = Shares(4)
    for number in range(100):
        shares.note(number, 1)
        for label in range(2 * LABELS_MAX):
            shares.note(99, label)
    assert shares.split(0, 3, -1) == {-1: 3}
    assert len(shares.split(99, 10**6, -1)) == LABELS_MAX


@given(
    st.lists(st.one_of(st.integers(1, 5), st.sampled_from("abc")), max_size=30),
    st.integers(1, 1000),
)
def test_split_parts_add_up_whatever_was_sampled(steps: list[int | str], last: int) -> None:
    shares: Shares[str, str] = Shares()
    for step in [*steps, last]:
        if isinstance(step, str):
            shares.note("flow", step)
        else:
            parts = shares.split("flow", step, "")
            assert sum(parts.values()) == step
            assert all(part > 0 for part in parts.values())


@given(st.integers(1, 10**6), st.dictionaries(st.text(max_size=3), st.integers(1, 10**6), min_size=1))
def test_shared_is_whole_adds_up_and_is_near_the_proportion(count: int, weights: dict[str, int]) -> None:
    parts = shared(count, weights)
    assert sum(parts.values()) == count
    whole = sum(weights.values())
    assert all(abs(parts.get(label, 0) - count * weights[label] / whole) < 1 for label in weights)
