"""How a change is made, on trial or not, and how one that is on trial ends.

Knows the order of the steps: written down ─ brought into force ─ confirmed, or what was before brought into
force ─ written down. Must not know what bringing into force takes (`Holder`), nor who asks. Whoever calls
holds the holder's lock. Keeps: what nobody has confirmed is in force only while it is on trial, and what the
next boot begins with never is; an end that fails is no end, and is tried again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from dynallow.durations import format_duration
from dynallow.errors import DynallowError, KernelError
from dynallow.pending.state import Mode, State, Trial
from dynallow.pending.trials import Trials
from dynallow.settings import Loaded, Settings

log = logging.getLogger(__name__)


class ConflictError(DynallowError):
    """Something is on trial, so that nothing else can be; or nothing is, and it is to end."""


class Holder(Protocol):
    """Who has settings in force."""

    loaded: Loaded
    settings: Settings
    applying: asyncio.Lock

    async def bring(self, loaded: Loaded, settings: Settings) -> None:
        """Bring into force, all or nothing. Raises KernelError; then nothing has changed."""

    async def keep(self) -> None:
        """Have the next boot begin with what the settings say."""

    def summary(self) -> str:
        """What is in force, in a line."""


class Switch:
    """One holder's."""

    def __init__(self, holder: Holder, trials: Trials, kept: Loaded | None) -> None:
        self.trials = trials
        self.on_end: Callable[[], None] = lambda: None
        """Called when what was on trial has ended by itself, or could not."""
        self._holder = holder
        self._before = None if kept is None else (kept, kept.settings)

    @property
    def tries_settings(self) -> bool:
        """Whether the settings in force are on trial themselves."""
        return self._before is not None

    def must_be_free(self) -> None:
        """Raises ConflictError while something is on trial."""
        trial = self.trials.trial
        if trial is not None:
            change = f"mode {trial.to}" if trial.what == "mode" else "a reload"
            raise ConflictError(
                f"{change} is on trial: {self.trials.text()}",
                "first `dynallow confirm`, or `dynallow confirm --back`",
            )

    async def reload(self, loaded: Loaded, within_s: float | None) -> None:
        """Bring these settings into force, or nothing. Raises ConflictError, KeptError, KernelError."""
        self.must_be_free()
        was, settings, state = self._holder.loaded, self._holder.settings, self.trials.state
        if within_s is not None:
            modes = settings.mode, loaded.settings.mode
            await self.trials.begin("reload", modes, within_s, was, loaded)
            self._before = (was, settings)
        await self._bring(loaded, loaded.settings, state)
        if within_s is None:
            await self.trials.released()
            await self._holder.keep()
        else:
            log.warning("reloaded on trial: %s", self._holder.summary())

    async def set_mode(self, mode: Mode, within_s: float | None) -> None:
        """Switch; what ends a trial of the other mode takes it back. Raises as `reload`."""
        holder, state = self._holder, self.trials.state
        trial, was = state.trial, holder.settings.mode
        if within_s is None and trial is not None and trial.what == "mode" and trial.was == mode:
            await self.take_back("by hand")
            return
        if within_s is not None or mode != "observe":
            self.must_be_free()  # to observe is the way out for whoever is locked out: it is always free
        if was != mode:
            if within_s is not None:
                await self.trials.begin("mode", (was, mode), within_s, holder.loaded)
            await self._bring(holder.loaded, in_mode(holder.settings, mode), state)
            ends = "until the next start or reload" if within_s is None else self.trials.text()
            log.warning("mode %s, was %s; %s", mode, was, ends)
        if self._before is not None and mode == "observe":
            # Who has said so while a reload was on trial has not asked to be locked out again by its end.
            self._before = self._before[0], in_mode(self._before[1], mode)

    async def confirm(self) -> Trial:
        """What is on trial stays. Raises ConflictError, KeptError; it is on trial still then."""
        trial = self._must_be_on()
        await self.trials.confirm()
        self._before = None
        log.warning("confirmed: %s", self._holder.summary())
        if trial.what == "reload":
            await self._holder.keep()
        return trial

    async def take_back(self, why: str) -> Trial:
        """What was before comes back; what only the new policy justified is revoked. Raises ConflictError,
        KernelError; it is tried again then.
        """
        trial, holder = self._must_be_on(), self._holder
        await self.trials.decide()
        loaded, settings = self._before or (holder.loaded, in_mode(holder.settings, trial.was))
        await holder.bring(loaded, settings)
        self._before = None
        await self.trials.taken_back()
        if trial.what == "reload":
            await holder.keep()
        log.warning("taken back, %s: %s", why, holder.summary())
        return trial

    async def watch(self) -> None:
        """Take back what nobody has confirmed in time, for ever."""
        await self.trials.save()
        await self.trials.watch(self._take_back_if_due)

    async def _take_back_if_due(self) -> None:
        async with self._holder.applying:
            trial = self.trials.trial
            if trial is None or self.trials.left_s():
                return
            try:
                await self.take_back(f"not confirmed within {format_duration(trial.within_s)}")
            except Exception as error:  # whatever it is, it must be tried again
                self.trials.failed(str(error) or type(error).__name__)
            self.on_end()

    async def _bring(self, loaded: Loaded, settings: Settings, state: State) -> None:
        try:
            await self._holder.bring(loaded, settings)
        except KernelError:
            if self.trials.state is not state:
                self._before = None
                await self.trials.withdraw(state)
            raise

    def _must_be_on(self) -> Trial:
        if self.trials.trial is None:
            raise ConflictError("nothing is on trial", "it was confirmed or taken back: its log says which")
        return self.trials.trial


def in_mode(settings: Settings, mode: Mode) -> Settings:
    """The same in this mode."""
    return settings if settings.mode == mode else settings.model_copy(update={"mode": mode})
