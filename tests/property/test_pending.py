"""Whatever restarts, reboots, deadlines and clocks that jump do, a trial is confirmed or taken back.

The model: true time, and a wall clock that anybody may set. In the boot that a trial began in it lasts as
long as was said, to the second; after a reboot at most as long again, and after a few of them not at all.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynallow.pending.state import (
    ANY_FILES,
    BOOTS_MAX,
    NOTHING,
    Held,
    Mode,
    Moment,
    State,
    What,
    begin,
    confirmed,
    left_s,
    start,
    taken_back,
)

_ROUNDING_S = 0.01

seconds = st.floats(0, 2000)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), seconds),
        st.tuples(st.just("look"), st.just(0.0)),
        st.tuples(st.just("restart"), st.booleans().map(float)),
        st.tuples(st.just("reboot"), seconds),
        st.tuples(st.just("clock"), st.floats(-1e9, 1e9)),
        st.tuples(st.just("confirm"), st.just(0.0)),
    ),
    max_size=25,
)


@settings(max_examples=150)
@given(what=st.sampled_from(["mode", "reload"]), within=st.floats(10, 1000), steps=steps)
def test_trial_ends_confirmed_or_taken_back_whatever_happens(
    what: What, within: float, steps: list[tuple[str, float]]
) -> None:
    up, wall, boot = 500.0, 1e9, 0
    said: Mode = "observe"
    held_say: Mode = "observe"

    def now() -> Moment:
        return Moment(str(boot), up, wall)

    trial = begin(what, ("observe", "enforce"), "observe", within, now(), "tried", "kept")
    on_disk = state = State(trial)
    on_trial_s, reboots, ended = 0.0, 0, ""
    for step, number in steps:
        if step == "wait":
            up, wall = up + number, wall + number
            on_trial_s += number
        elif step == "clock":
            wall = max(0.0, wall + number)
        elif step == "confirm" and state.trial is not None:
            state = on_disk = confirmed(state)
            ended = "confirmed"
        elif step in ("restart", "reboot"):
            if step == "reboot":
                boot, up, wall, reboots = boot + 1, 0.0, wall + number, reboots + 1
            begun = start(on_disk, now(), said, held_say, "tried")
            state = begun.state
            if step == "reboot" or number:  # else it dies before that is written
                on_disk = state
            if on_disk == NOTHING or on_disk.trial is None:
                ended = ended or "taken back"
            on_trial = state.trial is not None
            if what == "mode":
                assert begun.mode == ("enforce" if on_trial else begun.mode)
                assert begun.mode != "enforce" or on_trial  # in force only while on trial
            else:
                assert begun.before is (state.held is not None)
        if step == "look" and state.trial is not None:
            left = left_s(state.trial, now())
            assert 0 <= left <= within + _ROUNDING_S
            if not reboots:  # the wall clock has no say
                assert abs(left - max(within - on_trial_s, 0)) < _ROUNDING_S
            if not left:
                state = on_disk = taken_back(state)
                ended = ended or "taken back"
        if reboots > BOOTS_MAX and step == "reboot":
            assert state.trial is None
    # In the end an agent runs for long enough, on a clock that nobody touches any more.
    if state.trial is not None:
        up, wall = up + within + 1, wall + within + 1
        assert not left_s(state.trial, now())
        state, ended = taken_back(state), "taken back"
    assert state.trial is None
    if ended == "taken back" and what == "reload" and state.held is not None:
        assert start(state, now(), said, held_say, "tried").before
        assert not start(state, now(), said, held_say, "other files").before
        assert start(state, now(), None, held_say, "").before
        assert start(State(None, Held("kept", ANY_FILES)), now(), said, held_say, "other").before


@given(within=st.floats(10, 1000), back=st.floats(1, 1e9))
def test_clock_that_is_set_back_over_a_reboot_takes_back_at_once(within: float, back: float) -> None:
    trial = begin("mode", ("observe", "enforce"), "observe", within, Moment("a", 500.0, 1e9))
    assert start(State(trial), Moment("b", 5.0, 1e9 - back), "observe", None, "").mode == "observe"


@given(within=st.floats(10, 1000), off=st.floats(0, 2000))
def test_time_that_the_machine_was_off_counts(within: float, off: float) -> None:
    trial = begin("mode", ("observe", "enforce"), "observe", within, Moment("a", 500.0, 1e9))
    begun = start(State(trial), Moment("b", 5.0, 1e9 + off), "observe", None, "")
    if off > within:
        assert begun.mode == "observe"
    elif off < within - 1:
        assert begun.mode == "enforce"
        assert begun.state.trial is not None
        # From here on by this boot's own clock.
        left = left_s(begun.state.trial, Moment("b", 6.0, 5e9))
        assert abs(left - max(within - off - 1, 0)) < _ROUNDING_S


def test_settings_that_say_by_now_what_was_on_trial_end_it() -> None:
    trial = begin("mode", ("observe", "enforce"), "observe", 60.0, Moment("a", 500.0, 1e9))
    for up in (510.0, 600.0):
        begun = start(State(trial), Moment("a", up, 1e9), "enforce", None, "")
        assert (begun.mode, begun.state) == (None, NOTHING)


def test_observe_on_trial_ends_with_a_restart() -> None:
    trial = begin("mode", ("enforce", "observe"), "enforce", 60.0, Moment("a", 500.0, 1e9))
    begun = start(State(trial), Moment("a", 501.0, 1e9), "enforce", None, "")
    assert (begun.mode, begun.state) == ("enforce", NOTHING)


@pytest.mark.parametrize("gone_s", [30.0, 3000.0])
def test_reboot_after_the_end_leaves_in_force_what_the_settings_say(gone_s: float) -> None:
    """The boot has loaded `enforce`, as they say: a mode set by hand before it opens nothing again."""
    trial = begin("mode", ("observe", "enforce"), "enforce", 60, Moment("a", 500.0, 1e9))
    begun = start(State(trial), Moment("b", 5.0, 1e9 + gone_s), "enforce", None, "")
    assert begun.mode in (None, "enforce")
    same_boot = start(State(trial), Moment("a", 500.0 + gone_s, 1e9 + gone_s), "enforce", None, "")
    assert same_boot.mode == ("enforce" if gone_s < 60 else "observe")
