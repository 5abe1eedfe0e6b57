"""What is on trial, what was taken back, and what a start makes of either.

    switch ─▶ trial ── confirm ────────────▶ nothing
                 │
                 └── deadline, or by hand ─▶ mode: nothing · reload: held, for the files say otherwise still
    held ── `reload`, or a start with other files ──▶ nothing

Pure: time and files are arguments. Keeps: a trial ends, whatever clocks, restarts and reboots do; what is in
doubt is taken back, early rather than never; and no start is in a mode that nobody asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from dynallow.durations import parse_duration

Mode = Literal["enforce", "observe"]
What = Literal["mode", "reload"]

SHORTEST_S: Final = 10.0
LONGEST_S: Final = 7 * 86400.0
BOOTS_MAX: Final = 3
"""A trial that has seen so many reboots is over: no clock is left to be believed."""
ANY_FILES: Final = ""
"""In the place of a mark where it is not known which files were tried."""
_ROUNDING_S: Final = 0.001


class Moment(NamedTuple):
    """By both clocks: `up` is CLOCK_BOOTTIME, which goes on in suspend, `wall` seconds since 1970.

    `boot` is the id of the boot that `up` counts from; empty where it is not known.
    """

    boot: str
    up: float
    wall: float


@dataclass(frozen=True, slots=True)
class Trial:
    """A change that is taken back at its end: `ends_up` in boot `boot`, `ends_wall` in any other one."""

    what: What
    was: Mode
    to: Mode
    said: Mode
    """What the settings said when it began."""
    within_s: float
    boot: str
    ends_up: float
    began_wall: float
    ends_wall: float
    tried: str = ANY_FILES
    """Of a reload: the mark of the files (`settings.retained`)."""
    before: str = ""
    """Of a reload: what the settings before are kept as."""
    boots: int = 0
    over: bool = False
    """It has been decided to take it back."""


@dataclass(frozen=True, slots=True)
class Held:
    """Settings in force that are not the files': a reload was taken back, the files are as they were then."""

    before: str
    tried: str


@dataclass(frozen=True, slots=True)
class State:
    """Nothing of both, mostly."""

    trial: Trial | None = None
    held: Held | None = None


NOTHING: Final = State()


class Start(NamedTuple):
    """What a start is to bring into force."""

    before: bool
    """The settings that are kept, and not the files'."""
    mode: Mode | None
    """Instead of what these settings say."""
    state: State
    """As it is then."""
    why: str
    """A sentence for the log; empty when there is nothing to be said."""


def parse_within(text: str) -> float:
    """Seconds to confirm within. Raises ValueError, "expected …, got …"."""
    within_s = parse_duration(text)
    if not SHORTEST_S <= within_s <= LONGEST_S:
        raise ValueError(f'expected from 10s to 7d, got "{text}"')
    return within_s


def begin(
    what: What,
    modes: tuple[Mode, Mode],
    said: Mode,
    within_s: float,
    now: Moment,
    tried: str = ANY_FILES,
    before: str = "",
) -> Trial:
    """A trial from now on, of the second mode after the first."""
    ends = now.up + within_s, now.wall + within_s
    return Trial(what, *modes, said, within_s, now.boot, ends[0], now.wall, ends[1], tried, before)


def left_s(trial: Trial, now: Moment) -> float:
    """Seconds until it is taken back; 0 when that is due, or in doubt."""
    if trial.over:
        return 0.0
    if now.boot and now.boot == trial.boot:
        left = trial.ends_up - now.up
    elif now.wall < trial.began_wall:
        return 0.0  # set back, or lost: how long the machine was off cannot be told
    else:
        left = trial.ends_wall - now.wall
    return left if 0 < left <= trial.within_s + _ROUNDING_S else 0.0


def resumed(trial: Trial, now: Moment) -> Trial:
    """The same after a restart: from here on by this boot's own clock, whatever the other one is set to."""
    if now.boot and now.boot == trial.boot:
        return trial
    left = left_s(trial, now)
    boots = trial.boots + 1
    return replace(
        trial, boot=now.boot, ends_up=now.up + left, boots=boots, over=not left or boots > BOOTS_MAX
    )


def taken_back(state: State) -> State:
    """Its trial is over, and what was before is in force again."""
    trial = state.trial
    if trial is None or trial.what == "mode":
        return State(None, state.held)
    return State(None, Held(trial.before, trial.tried))


def confirmed(state: State) -> State:
    """Its trial is over, and what was tried stays."""
    trial = state.trial
    return State(None, state.held if trial is not None and trial.what == "mode" else None)


def start(state: State, now: Moment, said: Mode | None, held_say: Mode | None, mark: str) -> Start:
    """What is to be in force, and what is left of `state`.

    `said` is the mode that the files say, None when they cannot be used; `mark` is theirs. `held_say` is
    that of the settings that are kept, None when there are none to be had.
    """
    trial = state.trial
    if trial is not None:
        trial = resumed(trial, now)
        left = left_s(trial, now)
        if trial.what == "reload":
            return _start_of_reload(replace(state, trial=trial), left, said, held_say, mark)
    settings = _start_held(state.held, said, held_say, mark)
    if trial is None:
        return settings
    return _start_of_mode(trial, left, settings, held_say if settings.before else said)


def _start_of_reload(state: State, left: float, said: Mode | None, held_say: Mode | None, mark: str) -> Start:
    trial = state.trial
    assert trial is not None
    if left and said is not None and held_say is not None:
        # Changed once more since, it may be: that is on trial, then.
        again = replace(trial, tried=mark, to=said)
        return Start(False, None, State(again), "a reload is on trial still")
    return _start_held(Held(trial.before, trial.tried), said, held_say, mark)


def _start_held(held: Held | None, said: Mode | None, held_say: Mode | None, mark: str) -> Start:
    if held is None:
        return Start(False, None, NOTHING, "")
    if held_say is None:
        return Start(False, None, NOTHING, "the settings before the reload cannot be had any more")
    if said is None:
        return Start(True, None, State(None, held), "the files cannot be used")
    if held.tried not in (mark, ANY_FILES):
        return Start(False, None, NOTHING, "the files have changed since a reload was taken back")
    return Start(True, None, State(None, held), "the reload of what the files say was not confirmed")


def _start_of_mode(trial: Trial, left: float, settings: Start, said: Mode | None) -> Start:
    # The boot has loaded what the settings say: it is not opened again for a mode set by hand before it.
    booted = trial.boots > 0 and not left
    if said == trial.to and (said != trial.said or booted):
        why = f"mode {said} was on trial, and the settings say so"
        return settings._replace(why=_both(settings.why, why))
    if left and trial.to == "enforce":
        state = State(trial, settings.state.held)
        return settings._replace(
            mode=trial.to, state=state, why=_both(settings.why, f"mode {trial.to} is on trial still")
        )
    ended = "was not confirmed in time" if not left else "ends with a restart"
    return settings._replace(
        mode=trial.was, why=_both(settings.why, f"mode {trial.to} {ended}: {trial.was} again")
    )


def _both(one: str, other: str) -> str:
    return "; ".join(filter(None, (one, other)))
