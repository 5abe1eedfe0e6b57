"""`dynallow run` under a watch that is on only between two signals. A program of its own.

    python -m tests.bench.profiled_agent REPORT SETTINGS cprofile|stalls

SIGUSR1 begins, SIGUSR2 ends and writes REPORT whole (by rename). So imports
and start are not in it: they would fill the first screen.
"""

from __future__ import annotations

import asyncio
import cProfile
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

_HANDLE: Any = asyncio.Handle  # its `_run` is no promise of asyncio's, only how it is


class Stalls:
    """The longest time that each kind of callback kept the loop busy; used like cProfile.Profile."""

    def __init__(self) -> None:
        self._longest: dict[str, tuple[int, int]] = {}  # ns CPU, how often it ran
        self._run: Callable[[Any], None] = _HANDLE._run

    def enable(self) -> None:
        """Time every step of the loop from now on, in CPU time: others' work is no stall of ours."""
        run, longest = self._run, self._longest

        def timed(handle: Any) -> None:
            name = _name(handle)  # before it runs: a task that has ended knows its coroutine no more
            begin = time.thread_time_ns()
            run(handle)
            took = time.thread_time_ns() - begin
            most, count = longest.get(name, (0, 0))
            longest[name] = max(most, took), count + 1

        _HANDLE._run = timed

    def disable(self) -> None:
        """Leave the loop alone again."""
        _HANDLE._run = self._run

    def dump_stats(self, file: str) -> None:
        """A line for each kind, longest first."""
        ordered = sorted(self._longest.items(), key=lambda item: -item[1][0])
        lines = [f"{longest / 1e6:10.3f} {count:10,}  {name}\n" for name, (longest, count) in ordered]
        Path(file).write_text("".join(lines))


def _name(handle: Any) -> str:
    """What a step of the loop is for: a coroutine's name, or a callback's."""
    callback = handle._callback
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return str(getattr(owner.get_coro(), "__qualname__", owner))
    return str(getattr(callback, "__qualname__", None) or type(callback).__qualname__)


def main(report: str, settings: str, kind: str) -> None:
    """Become the agent."""
    profile = Stalls() if kind == "stalls" else cProfile.Profile()

    def begin(number: int, frame: FrameType | None) -> None:
        profile.enable()

    def end(number: int, frame: FrameType | None) -> None:
        profile.disable()
        profile.dump_stats(f"{report}.part")
        os.rename(f"{report}.part", report)

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)
    sys.argv = ["dynallow", "run", "--config", settings]
    runpy.run_module("dynallow", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:4])
