"""The one place that starts tasks: holds them (the loop does so weakly) and hears them fail.

Floor 0, but for the loop. A bare `asyncio.create_task` elsewhere is a bug:
its task can be collected half-way, and its exception is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from dynallow.errors import DynallowError

log = logging.getLogger(__name__)


class Tasks:
    """A group of running tasks; `stop` ends them all."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self.failed = 0

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run it in the background; an unexpected exception is logged with its trace and counted."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        # Ours are expected, and told to whoever awaits the task.
        if error is not None and not isinstance(error, DynallowError):
            self.failed += 1
            log.error("a task failed: %s", error, exc_info=error)

    def __len__(self) -> int:
        return len(self._running)

    async def stop(self) -> None:
        """Cancel what runs and wait until it has ended."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
