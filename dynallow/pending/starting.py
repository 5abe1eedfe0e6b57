"""What an agent starts with, and what is loaded at boot before it: the files' settings, mostly.

Reads settings, store and clock, and asks the state's rules; writes nothing: a second agent must go away
before it has touched anything. Keeps: where nothing was on trial, all is as if this room were not there.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from dynallow.errors import SettingsError
from dynallow.pending.clock import Clock
from dynallow.pending.state import ANY_FILES, NOTHING, Mode, State, start
from dynallow.pending.store import Store
from dynallow.pending.trials import Trials
from dynallow.settings import Loaded, load
from dynallow.settings.retained import mark_of

log = logging.getLogger(__name__)

_DIRECTORY = "STATE_DIRECTORY"


class Begun(NamedTuple):
    """What an agent starts with."""

    loaded: Loaded
    mode: Mode | None
    """Instead of what the settings say."""
    trials: Trials
    kept: Loaded | None = None
    """The settings before, where others are on trial."""


def resume(config: Path | None, environ: Mapping[str, str] = os.environ) -> Begun:
    """The settings and the mode to start with. Raises SettingsError, if no others can be had either."""
    loaded: Loaded | None = None
    fault: SettingsError | None = None
    try:
        loaded = load(config)
    except SettingsError as error:
        fault = error
    clock = Clock(environ)
    store = _store(environ, loaded)
    found = NOTHING if store is None else _read(store)
    if store is None or found == NOTHING:
        if loaded is None:
            raise fault or SettingsError([])
        return Begun(loaded, None, Trials(store or Store(Path()), clock))
    kept = _kept(store, found)
    plan = start(
        found,
        clock.now(),
        None if loaded is None else loaded.settings.mode,
        None if kept is None else kept.settings.mode,
        "" if loaded is None else mark_of(loaded),
    )
    chosen = kept if plan.before else loaded
    if chosen is None:
        raise fault or SettingsError([])
    if plan.why:
        log.warning("%s%s", plan.why, ": the settings before are in force" if plan.before else "")
    if fault is not None:
        log.error("what the files say cannot be used:\n%s", fault)
    on_trial = plan.state.trial is not None and plan.state.trial.what == "reload"
    trials = Trials(store, clock, plan.state, unsaved=plan.state != found)
    return Begun(chosen, plan.mode, trials, kept if on_trial else None)


def for_boot(config: Path | None, directory: Path | None) -> Loaded:
    """The settings that wait for nobody's word: before the agent is there nobody would take others back.

    Raises SettingsError.
    """
    store = None if directory is None else Store(directory)
    found = NOTHING if store is None else _read(store)
    kept = None if store is None else _kept(store, found)
    if kept is None:
        return load(config)
    on_trial = found.trial is not None and found.trial.what == "reload"
    if not on_trial and found.held is not None and found.held.tried != ANY_FILES:
        try:
            loaded = load(config)
        except SettingsError:
            return kept
        if mark_of(loaded) != found.held.tried:
            return loaded
    return kept


def _store(environ: Mapping[str, str], loaded: Loaded | None) -> Store | None:
    """In systemd's StateDirectory=; else beside the control socket, if it is known where that is."""
    first = environ.get(_DIRECTORY, "").partition(":")[0]
    if first:
        return Store(Path(first))
    return None if loaded is None else Store(loaded.settings.control.socket.parent)


def _read(store: Store) -> State:
    try:
        return store.read()
    except (OSError, ValueError) as error:
        log.error("%s cannot be read, what it would take back is taken back: %s", store.path, error)
        return store.guess()


def _kept(store: Store, found: State) -> Loaded | None:
    """The settings before a reload that is on trial or was taken back."""
    trial = found.trial
    if trial is not None and trial.what == "reload":
        name = trial.before
    elif found.held is not None:
        name = found.held.before
    else:
        return None
    try:
        return store.before(name)
    except (OSError, ValueError, SettingsError) as error:
        log.error("the settings before the reload, %s, cannot be had any more: %s", name, error)
        return None
