"""Runs a command on a machine that stands still now and then: what a host that takes the processors does.

    python -m tests.stalls [--every MIN MAX] [--for MIN MAX] [--one] [--seed N] COMMAND…

Knows /proc and signals alone. All processes of the command are stopped for a while and go on, again and
again; the clocks do not stand still meanwhile. `--one` stops one of them at a time: the others go on, as
where one of several processors has been taken. Invariant: nothing is left stopped.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path


def processes(root: int) -> list[int]:
    """`root` and all that descends from it, still has its parents, and was not stopped by somebody else."""
    children: dict[int, list[int]] = {}
    stopped = set[int]()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in brackets may contain brackets and blanks: proc(5).
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
        except (OSError, ValueError):  # ended meanwhile
            continue
        children.setdefault(int(parent), []).append(int(stat.parent.name))
        if state == "T":
            stopped.add(int(stat.parent.name))
    found, left = [], [root]
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return [pid for pid in found if pid not in stopped]


def _signal(targets: Iterable[int], number: signal.Signals) -> None:
    for pid in targets:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def run(
    command: Sequence[str], every: tuple[float, float], span: tuple[float, float], one: bool, seed: int
) -> int:
    """`command`'s exit code; says on stderr how often it was stopped. Times in seconds."""
    draw = random.Random(seed)
    stalls = 0
    with subprocess.Popen(command) as child:
        while child.poll() is None:
            time.sleep(draw.uniform(*every))
            targets = processes(child.pid)
            if one and targets:
                targets = [draw.choice(targets)]
            try:
                _signal(targets, signal.SIGSTOP)
                time.sleep(draw.uniform(*span))
            finally:
                _signal(targets, signal.SIGCONT)
            stalls += 1
    print(f"{stalls} stalls", file=sys.stderr)
    return child.returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stalls", description=__doc__)
    parser.add_argument("--every", nargs=2, type=float, default=(0.2, 1.5), metavar=("MIN", "MAX"))
    parser.add_argument(
        "--for", dest="span", nargs=2, type=float, default=(0.05, 0.6), metavar=("MIN", "MAX")
    )
    parser.add_argument("--one", action="store_true", help="one process at a time, not all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    return run(given.command, tuple(given.every), tuple(given.span), given.one, given.seed)


if __name__ == "__main__":
    sys.exit(main())
