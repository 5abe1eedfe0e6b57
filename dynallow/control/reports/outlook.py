"""Readiness as `status` tells it: worked out now and then, beside what asks for it.

Knows no advice: what works it out is handed over, and blocks. Keeps: one at a time, not again within a
minute unless the settings are others, and nobody who asks for a status waits longer than a moment for it;
until the first is there, none is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from dynallow.control.readinessschema import ReadinessReport
from dynallow.control.schema import ReadyReport
from dynallow.tasks import Tasks

log = logging.getLogger(__name__)

_GOOD_S: Final = 60.0
_MOMENT_S: Final = 0.25


class Outlook:
    """The last one. `clock` is monotonic seconds."""

    def __init__(self, tasks: Tasks, clock: Callable[[], float]) -> None:
        self._tasks = tasks
        self._clock = clock
        self._known: ReadyReport | None = None
        self._of: object = None
        self._at = -_GOOD_S
        self._work: asyncio.Task[None] | None = None

    async def look(self, of: object, work: Callable[[], ReadinessReport]) -> ReadyReport | None:
        """What is known under the settings `of`; None: nothing yet."""
        if self._of is not of:
            self._known, self._of, self._at = None, of, -_GOOD_S
        if self._work is None and self._clock() - self._at >= _GOOD_S:
            self._work = self._tasks.start(self._look(of, work))
        if self._work is not None and self._known is None:
            await asyncio.wait([self._work], timeout=_MOMENT_S)
        return self._known

    async def _look(self, of: object, work: Callable[[], ReadinessReport]) -> None:
        try:
            found = await asyncio.to_thread(work)
        except Exception as error:  # a by-stander: a status goes without it
            log.debug("no readiness: %s", error)
            found = None
        finally:
            self._work = None
        if of is self._of:
            self._at = self._clock()
            if found is not None:
                self._known = {"verdict": found["verdict"], "text": found["text"], "at": found["until"]}
