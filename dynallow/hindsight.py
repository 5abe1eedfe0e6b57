"""The past, as the control API asks for it: what happened by now is counted first, then read in a thread.

Knows `sight` and the reports; must not know HTTP. Keeps: nothing here blocks the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from dynallow.control.historyschema import (
    By,
    DeniedReport,
    HistoryReport,
    LogLine,
    LogReport,
    TimelineReport,
)
from dynallow.control.reports import history
from dynallow.control.schema import Mode
from dynallow.errors import DynallowError, KernelError
from dynallow.firewall.present import read_denied
from dynallow.sight.lines import Follower, TooManyError
from dynallow.sight.sight import Sight

_AT_ONCE: Final = 64


class Hindsight:
    """One agent's."""

    def __init__(self, sight: Sight, mode: Callable[[], Mode]) -> None:
        self._sight = sight
        self._mode = mode

    async def history(self, since_s: float, kind: str | None, decision: str | None) -> HistoryReport:
        """The records of the last `since_s` seconds."""
        await self._sight.settle()
        now = self._sight.now()
        return await asyncio.to_thread(history.history, self._sight, now - since_s, now, kind, decision)

    async def timeline(self, since_s: float, step_s: int) -> TimelineReport:
        """Every step of the last `since_s` seconds."""
        await self._sight.settle()
        now = self._sight.now()
        since = now - since_s
        points = await asyncio.to_thread(self._sight.timeline, since, step_s)
        changes = await asyncio.to_thread(self._sight.changes, since)
        return await asyncio.to_thread(history.timeline, points, changes, since, now, step_s)

    async def denied(self, since_s: float, by: By | None, limit: int) -> DeniedReport:
        """What was denied in the last `since_s` seconds."""
        await self._sight.settle()
        now, mode = self._sight.now(), self._mode()

        def read() -> DeniedReport:
            try:
                packets = read_denied()[0]
            except KernelError:
                packets = None
            return history.denied(self._sight, now - since_s, now, mode, packets, by, limit)

        return await asyncio.to_thread(read)

    async def log(self, since_s: float) -> LogReport:
        """The lines of the last `since_s` seconds that are kept."""
        await self._sight.settle()
        now = self._sight.now()

        def read() -> LogReport:
            lines = [history.log_line(line) for line in self._sight.told(now - since_s)]
            return {"since": history.moment(now - since_s), "until": history.moment(now), "lines": lines}

        return await asyncio.to_thread(read)

    def follow(self) -> Following:
        """New lines. Raises DynallowError when too many follow already."""
        try:
            return Following(self._sight, self._sight.follow(), self._mode)
        except TooManyError:
            raise DynallowError(
                "too many programs follow the log already", "end one of them; each `log -f` is one"
            ) from None


class Following:
    """A reader of new lines."""

    def __init__(self, sight: Sight, follower: Follower, mode: Callable[[], Mode]) -> None:
        self._sight = sight
        self._follower = follower
        self._mode = mode

    async def take(self, within_s: float) -> list[LogLine]:
        """Those since the last time; none when so much time has passed without any."""
        lost, lines = await self._follower.take(within_s)
        told = []
        for number, line in enumerate(lines):
            if number and number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            told.append(history.log_line(line))
        if lost:
            told.insert(0, history.lost(lost, self._mode(), self._sight.now()))
        return told

    def leave(self) -> None:
        """It reads no more."""
        self._sight.lines.leave(self._follower)
