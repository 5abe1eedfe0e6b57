"""TTL arithmetic: what a client is told, and how long the kernel holds it (invariant 2)."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from dynallow.lease.grant import Limits, lifetime, told_ttl

WEEK = 7 * 86400
DEFAULTS = Limits()

seconds = st.one_of(st.integers(0, 200).map(float), st.floats(0.0, 1e6, allow_nan=False))
ttls = st.one_of(st.integers(0, 400), st.integers(0, 2**31 - 1))


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    """Whatever the settings accept: min ≤ max, grace < max."""
    longest = draw(st.floats(0.001, 1e6))
    shortest = draw(st.floats(0.001, longest))
    grace = draw(st.floats(0.0, longest))
    assume(grace < longest)
    return Limits(grace, shortest, longest)


@given(ttls, limits(), st.none() | seconds)
def test_told_ttl_any_limits_lease_outlives_it_by_the_grace(
    ttl: int, bounds: Limits, left: float | None
) -> None:
    told = told_ttl(ttl, bounds, left)
    assert 0 <= told <= ttl
    assert lifetime(told, bounds) >= told
    assert lifetime(told, bounds) >= min(told + bounds.grace_s, bounds.max_s)
    assert bounds.min_s <= lifetime(told, bounds) <= bounds.max_s
    if bounds.grace_s >= 0.001:
        assert told < lifetime(told, bounds)
    if left is not None:
        assert told <= left


def test_told_ttl_ordinary_is_told_as_it_is() -> None:
    assert told_ttl(300, DEFAULTS) == 300
    assert lifetime(300, DEFAULTS) == 360.0


def test_told_ttl_zero_is_told_as_zero_and_leased_for_the_minimum() -> None:
    assert told_ttl(0, DEFAULTS) == 0
    assert lifetime(0, Limits(grace_s=10.0, min_s=60.0)) == 60.0
    assert lifetime(0, Limits(grace_s=90.0, min_s=60.0)) == 90.0


def test_told_ttl_week_is_lowered_so_that_the_longest_lease_keeps_its_grace() -> None:
    assert told_ttl(WEEK, DEFAULTS) == 86400 - 60
    assert lifetime(86400 - 60, DEFAULTS) == 86400.0


def test_told_ttl_without_grace_reaches_the_longest_lease_and_not_beyond() -> None:
    bounds = Limits(grace_s=0.0, min_s=60.0, max_s=600.0)
    assert told_ttl(601, bounds) == 600
    assert lifetime(600, bounds) == 600.0
    assert lifetime(59, bounds) == 60.0


def test_told_ttl_rule_about_to_expire_is_lowered_to_the_whole_seconds_left() -> None:
    assert told_ttl(300, DEFAULTS, 9.99) == 9
    assert told_ttl(5, DEFAULTS, 9.99) == 5
    assert told_ttl(300, DEFAULTS, 0.5) == 0


def test_told_ttl_rule_already_expired_is_zero_and_never_negative() -> None:
    assert told_ttl(300, DEFAULTS, -3.0) == 0
