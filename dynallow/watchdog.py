"""Tells the service manager that all is well, as long as it is: every check of a round has passed.

Floor 0, but for the loop. Must not know what is checked. A round that fails tells nothing; after several
of them in a row the manager ends this process and starts another. Keeps: a loop that stands still, a
check that hangs and a check that fails are the same, no beat.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

log = logging.getLogger(__name__)

_ROUNDS = 6
"""In the time after which the manager acts: one that fails, for whatever reason, is no end yet."""


class Manager(Protocol):
    """What of `notify.Notifier` is needed."""

    def beat(self) -> None: ...
    def status(self, status: str) -> None: ...


class Watchdog:
    """Rounds of checks, for as long as `run` runs."""

    def __init__(
        self,
        manager: Manager,
        period_s: float,
        checks: Sequence[Callable[[], Awaitable[None]]],
        summary: Callable[[], str],
    ) -> None:
        """`period_s` is what the manager allows; `summary` its status line while all is well."""
        self._manager = manager
        self._every_s = period_s / _ROUNDS
        self._checks = checks
        self._summary = summary
        self.failed = 0
        """Rounds without a beat."""

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        ill = False
        while True:
            began = loop.time()
            why = await self._why_not()
            if why is None:
                self._manager.beat()
                if ill:
                    log.warning("watchdog: all is well again")
                    self._manager.status(self._summary())
            else:
                self.failed += 1
                if not ill:
                    log.error("watchdog: %s", why)
                self._manager.status(f"not well: {why}")
            ill = why is not None
            await asyncio.sleep(max(0.0, began + self._every_s - loop.time()))

    async def _why_not(self) -> str | None:
        """What is wrong; None when nothing is."""
        try:
            async with asyncio.timeout(self._every_s):
                for check in self._checks:
                    await check()
        except TimeoutError:
            return f"a check had not passed after {self._every_s:g} s"
        except Exception as error:
            return str(error) or type(error).__name__
        return None
