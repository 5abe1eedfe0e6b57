"""The one place that starts tasks: holds them (the loop does so weakly) and hears them fail.

Floor 0, but for the loop. A bare `asyncio.create_task` elsewhere is a bug:
its task can be collected half-way, and its exception is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

from dynallow.errors import DynallowError

log = logging.getLogger(__name__)

A = TypeVar("A")
T = TypeVar("T")


class Tasks:
    """A group of running tasks; `stop` ends them all.

    `between` is called before each further step of what was begun: many wake up in one
    turn of the loop, and something may have to be looked at in between.
    """

    def __init__(self, between: Callable[[], None] = lambda: None) -> None:
        self._between = between
        self._running: set[asyncio.Task[Any]] = set()
        self._begun: dict[Coroutine[Any, Any, None], asyncio.Task[None]] = {}
        self.failed = 0

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run it in the background; an unexpected exception is logged with its trace and counted."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def attempt(self, work: Callable[[A], T], argument: A) -> T | None:
        """Its result; None when it failed, which is logged and counted as a task's failure is.

        For one of many things done in a row: its failure is not the others'.
        """
        try:
            return work(argument)
        except Exception as error:
            self._failed(error)
            return None

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it here and now up to its first wait; only what has to wait becomes a task.

        Most questions never wait, and a task costs more than answering one
        (Python 3.12 calls this an eager task). Until the first wait there is no
        current task: `asyncio.timeout` must not stand before it.
        """
        try:
            awaited = work.send(None)
        except StopIteration:
            return
        except Exception as error:
            self._failed(error)
            return
        # No callback at its end: the rest itself says so, which is one turn of the loop less.
        self._begun[work] = asyncio.get_running_loop().create_task(self._rest(work, awaited))

    @coroutine
    def _rest(self, work: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
        """What is left of `work` after its first step, which waits for `awaited`."""
        try:
            while True:
                try:
                    value = yield awaited
                except BaseException as error:
                    awaited = work.throw(error)
                else:
                    self._between()
                    awaited = work.send(value)
        except StopIteration:
            pass
        except Exception as error:
            self._failed(error)
        finally:
            del self._begun[work]

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        # Ours are expected, and told to whoever awaits the task.
        if not isinstance(error, DynallowError):
            self.failed += 1
            log.error("a task failed: %s", error, exc_info=error)

    def __len__(self) -> int:
        return len(self._running) + len(self._begun)

    async def stop(self) -> None:
        """Cancel what runs and wait until it has ended."""
        tasks = [*self._running, *self._begun.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for work in [work for work, task in self._begun.items() if task.done()]:
            work.close()  # cancelled before its first turn: it could not be told
            del self._begun[work]
