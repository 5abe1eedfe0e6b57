"""What is on trial in a running agent: written down first, looked at while it lasts, told to whoever asks.

Knows the store, the clock and the state's rules; must not know how a change is made or taken back. Keeps:
what is on trial is on disk before it is in force, and off it only when it is confirmed or no longer in force.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from dynallow.errors import DynallowError
from dynallow.pending.clock import Clock
from dynallow.pending.state import NOTHING, Mode, State, Trial, What, begin, confirmed, left_s, taken_back
from dynallow.pending.store import Store
from dynallow.settings import Loaded
from dynallow.settings.retained import mark_of

log = logging.getLogger(__name__)

_LOOK_S = 0.25
_AGAIN_S = 1.0


class KeptError(DynallowError):
    """What is on trial cannot be written down, or what was before cannot be read: nothing is switched."""


class Trials:
    """The one that there may be."""

    def __init__(self, store: Store, clock: Clock, state: State = NOTHING, *, unsaved: bool = False) -> None:
        self.state = state
        self._unsaved = unsaved
        """Whether the disk may say otherwise."""
        self.problem: str | None = None
        """Why it could not be taken back yet."""
        self._store = store
        self._clock = clock
        self._writing = asyncio.Lock()
        self._any = asyncio.Event()
        if state.trial is not None:
            self._any.set()

    @property
    def trial(self) -> Trial | None:
        """What is on trial."""
        return self.state.trial

    def left_s(self) -> float:
        """Seconds until it is taken back; 0 when that is due, or nothing is on trial."""
        return left_s(self.state.trial, self._clock.now()) if self.state.trial is not None else 0.0

    def until(self) -> datetime:
        """When it is taken back, by the wall clock as it goes now."""
        return datetime.fromtimestamp(self._clock.now().wall + self.left_s(), UTC)

    def boot(self) -> str:
        """A sign of this boot, which the next process of it is told as well. Blocking."""
        self._clock.leave()
        return self._clock.boot

    # ------------------------------------------------------------ changes

    async def begin(
        self,
        what: What,
        modes: tuple[Mode, Mode],
        within_s: float,
        before: Loaded,
        tried: Loaded | None = None,
    ) -> None:
        """Write down that it is tried, before it is. Raises KeptError; then there is no trial."""
        held = self.state.held if what == "mode" else None

        def written() -> State:
            self._clock.leave()
            sign, name = (mark_of(tried), self._store.keep(before)) if tried is not None else ("", "")
            said = before.settings.mode
            fresh = State(begin(what, modes, said, within_s, self._clock.now(), sign, name), held)
            self._store.write(fresh)
            return fresh

        try:
            async with self._writing:
                self.state = await asyncio.to_thread(written)
        except OSError as error:
            await self._write(self.state)
            raise KeptError(
                f"nothing is switched: what is on trial could not be written down: {error}",
                "without --confirm-within nothing need be",
            ) from error
        self.problem = None
        self._any.set()

    async def withdraw(self, before: State) -> None:
        """It never came into force: `before` was, and is."""
        self._ended(before)
        await self._write(before)

    async def confirm(self) -> None:
        """It stays. Raises KeptError; then it is on trial still."""
        after = confirmed(self.state)
        if not await self._write(after):
            raise KeptError(f"not confirmed: {self._store.path} cannot be changed", "see the log")
        self._ended(after)

    async def decide(self) -> None:
        """It is to be taken back, whatever comes: said on disk before it is done."""
        if self.state.trial is not None and self.left_s():
            self.state = State(replace(self.state.trial, over=True), self.state.held)
            await self._write(self.state)

    async def taken_back(self) -> None:
        """What was before is in force again."""
        after = taken_back(self.state)
        self._ended(after)
        await self._write(after)

    async def released(self) -> None:
        """What the files say is in force, and meant to be."""
        if self.state != NOTHING or self._unsaved:
            self._ended(NOTHING)
            await self._write(NOTHING)

    async def save(self) -> None:
        """Write down what a start has made of it, now that it is in force."""
        if self._unsaved:
            await self._write(self.state)
        else:
            async with self._writing:  # what a killed one has left half done
                await asyncio.to_thread(self._store.tidy, self.state)

    async def again(self) -> None:
        """Write down what could not be: a start would believe what the disk says."""
        async with self._writing:
            if self._unsaved:
                with suppress(OSError):
                    await asyncio.to_thread(self._store.write, self.state)
                    self._unsaved = False

    def failed(self, why: str) -> None:
        """It could not be taken back. It is tried again."""
        if why != self.problem:
            log.error("what is on trial could not be taken back, it is tried again: %s", why)
        self.problem = why

    async def watch(self, take_back: Callable[[], Awaitable[None]]) -> None:
        """Have it taken back at its end, for ever. Looked at often: no timer counts the time in suspend."""
        while True:
            await self._any.wait()
            await asyncio.sleep(_LOOK_S if self.problem is None else _AGAIN_S)
            if self.state.trial is not None and not self.left_s():
                await take_back()

    def _ended(self, after: State) -> None:
        self.state = after
        self.problem = None
        if after.trial is None:
            self._any.clear()

    async def _write(self, state: State) -> bool:
        try:
            async with self._writing:  # one after the other, or an old one might stay
                await asyncio.to_thread(self._store.write, state)
                self._unsaved = False
        except OSError as error:
            # A start would find what was there before: a trial, and that ends in being taken back.
            self._unsaved = True
            log.error("%s could not be written: %s", self._store.path, error)
            return False
        return True

    # ------------------------------------------------------------ words

    def text(self) -> str:
        """ "back to observe at 15:35:12 unless confirmed"; empty when nothing is on trial."""
        trial = self.state.trial
        if trial is None:
            return ""
        back = f"to {trial.was}" if trial.what == "mode" else "to the settings before"
        return f"back {back} at {self.until().astimezone():%H:%M:%S} unless confirmed"

    def warnings(self) -> list[str]:
        """What an administrator should know."""
        found = []
        if self.state.held is not None:
            found.append(
                "the settings in force are not what the files say: a reload of these was taken back; "
                "`dynallow reload` brings them into force"
            )
        if self.problem is not None:
            found.append(f"what is on trial could not be taken back, it is tried again: {self.problem}")
        return found
