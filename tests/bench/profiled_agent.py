"""`dynallow run` under cProfile, which is on only between two signals. A program of its own.

    python -m tests.bench.profiled_agent REPORT SETTINGS

SIGUSR1 begins, SIGUSR2 ends and writes REPORT whole (by rename). So imports
and start are not in it: they would fill the first screen.
"""

from __future__ import annotations

import cProfile
import os
import runpy
import signal
import sys
from types import FrameType


def main(report: str, settings: str) -> None:
    """Become the agent."""
    profile = cProfile.Profile()

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
    main(*sys.argv[1:3])
