"""A loop whose time stands still while the machine does, for tests whose both sides live in one process.

Where a machine's processors are taken for a second, a server in the test's own loop cannot answer, and
the clock that the other side's patience is counted by must not run either: else a test of who is asked
how often, and when, says something about the machine. Everything of dynallow that waits does so by
`loop.time()`. Knows asyncio's selectors; must not know what is tested. Invariant: one turn of the loop
counts for no longer than it meant to wait, computed, and a moment; where the machine goes on that is all.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

_MOMENT_S = 0.005  # most turns take less than one millisecond
_PIECE_S = 0.02  # of a longer wait: of what is shorter than that it cannot be told how much was lost


class _Clock:
    """Seconds as of `time.monotonic` at first, and later ever more behind it."""

    def __init__(self) -> None:
        self._at = self._mark = time.monotonic()
        self._computed = time.thread_time()
        self._means_s = 0.0

    def __call__(self) -> float:
        passed_s = time.monotonic() - self._mark
        if passed_s > self._means_s + _MOMENT_S:
            passed_s = min(passed_s, self._means_s + _MOMENT_S + time.thread_time() - self._computed)
        return self._at + passed_s

    def means_to_wait(self, seconds: float) -> None:
        """From now on, until it says so again."""
        self._at, self._mark, self._computed = self(), time.monotonic(), time.thread_time()
        self._means_s = seconds


class _InPieces(selectors.BaseSelector):
    """A loop's selector, which never waits for long, and tells the clock for how long it means to."""

    def __init__(self, inner: selectors.BaseSelector, clock: _Clock) -> None:
        self._inner = inner
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        piece_s = _PIECE_S if timeout is None else max(0.0, min(timeout, _PIECE_S))
        self._clock.means_to_wait(piece_s)
        try:
            return self._inner.select(piece_s)
        finally:
            self._clock.means_to_wait(0.0)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._inner.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._inner.get_map()

    def close(self) -> None:
        self._inner.close()


class SteadyLoop(asyncio.SelectorEventLoop):
    """asyncio's, but for its `time`."""

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        self._steady = _Clock()
        super().__init__(_InPieces(selector or selectors.DefaultSelector(), self._steady))

    def time(self) -> float:
        return self._steady()


@contextmanager
def steady() -> Iterator[None]:
    """Every loop that asyncio makes meanwhile is such a one."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(asyncio.events, "new_event_loop", SteadyLoop)  # asyncio.run's
        patched.setattr(asyncio, "new_event_loop", SteadyLoop)
        yield
