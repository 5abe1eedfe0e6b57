"""The one place that starts tasks: holds them (the loop does so weakly) and hears them fail.

Floor 0, but for the loop. A bare `asyncio.create_task` elsewhere is a bug:
its task can be collected half-way, and its exception is lost.
"""

from __future__ import annotations

import asyncio
import logging
import operator
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from types import TracebackType, coroutine
from typing import Any, Generic, TypeVar

from dynallow.errors import DynallowError

log = logging.getLogger(__name__)

A = TypeVar("A")
T = TypeVar("T")


_AGAIN_S = 1.0
"""After which what failed is begun again."""
_driven = False
"""Whether `Tasks` itself runs the step that is being taken, and no task does."""


class Promise(Generic[T]):
    """A value that one piece of work waits for: a future at a third of the price, inside `Tasks.begin`.

    In a task it is awaited by way of a future. No `__init__`: one is made for each wait.
    """

    wake: Callable[[], object] | None = None
    """Called once when it is kept or broken, if somebody waits."""
    _done = False
    _value: T
    _error: BaseException | None = None
    _trace: TracebackType | None = None
    """Of the error, when it came here."""

    def done(self) -> bool:
        """Whether there is nothing to wait for any more."""
        return self._done

    def set_result(self, value: T) -> None:
        """Keep it."""
        self._value = value
        self._done = True
        if self.wake is not None:
            self.wake()

    def set_exception(self, error: BaseException) -> None:
        """Break it: whoever waits has this raised."""
        self._error, self._trace = error, error.__traceback__
        self._done = True
        if self.wake is not None:
            self.wake()

    def __await__(self) -> Generator[Any, None, T]:
        if not self._done:
            try:
                if _driven:
                    yield self
                else:
                    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self.wake = partial(_release, future)
                    yield from future
            finally:
                self.wake = None  # nobody waits any more, whatever ended it
        if self._error is None:
            return self._value
        # Told once, and held by nobody then: an error holds the frames that it went through, and one of
        # these that holds it, itself or by way of us, would be a cycle for each question that fails.
        # One error may break a thousand promises: it must not lead from each to all that were told before.
        error, self._error = self._error.with_traceback(self._trace), None
        self._trace = None
        try:
            raise error
        finally:
            del error


def _release(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


@coroutine
def _steps(
    work: Coroutine[Any, Any, None], awaited: Any, between: Callable[[], None]
) -> Generator[Any, Any, None]:
    """The steps of `work` from where it waits for `awaited`.

    To be awaited: from Python 3.12 on a task takes no generator, not even one of this kind.
    """
    try:
        while True:
            try:
                value = yield awaited
            except BaseException as error:
                awaited = None  # a future holds its error, and that this frame: see `Promise`
                awaited = work.throw(error)
            else:
                between()
                awaited = work.send(value)
    except StopIteration:
        pass


class Tasks:
    """A group of running tasks; `stop` ends them all.

    `between` is called before each further step of what was begun: many wake up in one
    turn of the loop, and something may have to be looked at in between. `later` stands for
    the loop's `call_soon`, where somebody knows how to come before it.
    """

    def __init__(
        self,
        between: Callable[[], None] = lambda: None,
        later: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._between = between
        self._later = later or (lambda work: asyncio.get_running_loop().call_soon(work))
        self._running: set[asyncio.Task[Any]] = set()
        self._begun: dict[Coroutine[Any, Any, None], asyncio.Task[None] | None] = {}
        self._woken: list[Coroutine[Any, Any, None]] = []
        self._goes_on = self._gathers = False
        self._then: list[Callable[[], None]] = []
        self.failed = 0

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run it in the background; an unexpected exception is logged with its trace and counted."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def keep(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> asyncio.Task[Any]:
        """Run in the background what is never to end: anew, a moment later, where it failed."""
        return self.start(self._kept(work))

    async def _kept(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        while True:
            try:
                await work()
            except Exception as error:
                self._failed(error)
            await asyncio.sleep(_AGAIN_S)

    def attempt(self, work: Callable[[A], T], argument: A) -> T | None:
        """Its result; None when it failed, which is logged and counted as a task's failure is.

        For one of many things done in a row: its failure is not the others'.
        """
        try:
            return work(argument)
        except Exception as error:
            self._failed(error)
            return None

    async def briefly(self, work: Coroutine[Any, Any, Any], within_s: float) -> None:
        """Wait for what a by-stander does, so long and no longer; it goes on in the background then.

        Raises nothing: its failure is logged and counted, and what comes next is not held up.
        """
        await asyncio.wait({self.start(work)}, timeout=within_s)

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it here and now up to its first wait; what waits for a `Promise` goes on without a task.

        Most questions never wait, the others mostly for promises, and a task costs
        more than answering. `asyncio.timeout` and its like need one: before them must
        stand `await asyncio.sleep(0)`, with which the rest becomes a task.
        """
        global _driven
        outer, _driven = _driven, True
        try:
            awaited = work.send(None)
        except StopIteration:
            return
        except (Exception, asyncio.CancelledError) as error:
            self._failed(error)
            return
        finally:
            _driven = outer
        self._wait(work, awaited)

    def _wait(self, work: Coroutine[Any, Any, None], awaited: Any) -> None:
        """Let `work` go on when `awaited` is there."""
        if type(awaited) is Promise:
            awaited.wake = partial(self._wake, work)
            self._begun[work] = None
        else:
            # No callback at its end: the rest itself says so, which is one turn of the loop less.
            self._begun[work] = asyncio.get_running_loop().create_task(self._rest(work, awaited))

    def _wake(self, work: Coroutine[Any, Any, None]) -> None:
        """Let it go on with all that are woken meanwhile: in the loop's next turn, or in this one's rest."""
        if not self._woken and not self._goes_on:
            self._later(self._go_on)
        self._woken.append(work)

    def soon(self, work: Callable[[], None]) -> None:
        """Call it when all that goes on together has taken its step; else in the loop's next turn.

        What it wakes goes on at once, since a turn of the loop in between would find nothing else to
        do; and what that wants to be called comes in the next turn, however often it does.
        """
        if self._gathers:
            self._then.append(work)
        else:
            asyncio.get_running_loop().call_soon(work)

    def _go_on(self) -> None:
        self._goes_on = self._gathers = True
        try:
            self._step()
            self._gathers = False
            then, self._then = self._then, []
            for work in then:
                self.attempt(operator.call, work)
            while self._woken:
                self._step()
        finally:
            self._goes_on = self._gathers = False
            if self._woken or self._then:  # whatever that met, nobody is left waiting
                asyncio.get_running_loop().call_soon(self._go_on)

    def _step(self) -> None:
        global _driven
        woken, self._woken = self._woken, []
        for work in woken:
            self._between()
            _driven = True
            try:
                awaited = work.send(None)
            except StopIteration:
                del self._begun[work]
            except (Exception, asyncio.CancelledError) as error:  # what else is woken must go on
                del self._begun[work]
                self._failed(error)
            else:
                if type(awaited) is Promise:
                    awaited.wake = partial(self._wake, work)
                else:
                    self._wait(work, awaited)
            finally:
                _driven = False

    async def _rest(self, work: Coroutine[Any, Any, None], awaited: Any) -> None:
        """What is left of `work`, which waits for `awaited`, as a task."""
        try:
            await _steps(work, awaited, self._between)
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
        # Ours are expected, and told to whoever awaits the task; to be cancelled is an end like any other.
        if not isinstance(error, (DynallowError, asyncio.CancelledError)):
            self.failed += 1
            log.error("a task failed: %s", error, exc_info=error)

    def __len__(self) -> int:
        return len(self._running) + len(self._begun)

    async def stop(self) -> None:
        """Cancel what runs and wait until it has ended."""
        for work in [work for work, task in self._begun.items() if task is None]:
            del self._begun[work]
            self.attempt(Coroutine.close, work)
        self._woken.clear()
        tasks = [*self._running, *filter(None, self._begun.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for work in [work for work, task in self._begun.items() if task is None or task.done()]:
            work.close()  # cancelled before its first turn: it could not be told
            del self._begun[work]
