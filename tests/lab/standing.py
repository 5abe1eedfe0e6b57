"""A clock that stands still while the machine does: how long something took of the time that there was.

Two processors may be taken from a guest for a second at any moment; what the product promises of time it
can keep only in the rest. So a process beside the tests has one thread on each processor that wants to
wake every few milliseconds, and what it comes late by has been taken. Knows shared memory and /proc's
processors alone. Invariants: never ahead of `time.monotonic`, and only behind it by what a thread that
does nothing else was late; on a machine that goes on both run alike. For promises of time only: leases
and TTLs run on in a kernel that stands still.
"""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
from functools import cache

_TICK_S, _SLACK_S = 0.01, 0.01
# Number of this state, seconds lost before it, from when on more of them are lost; number of what is being
# written. Whoever writes begins at the end, and who reads at the beginning.
_STATE = struct.Struct("=qddq")


def clock() -> float:
    """Seconds, of which only differences mean anything."""
    lost_s, late_from = _state(_page())
    now = time.monotonic()
    return now - lost_s - max(0.0, now - late_from)


def _state(page: mmap.mmap) -> tuple[float, float]:
    while True:
        written, lost_s, late_from, writing = _STATE.unpack_from(page)
        if written == writing:
            return lost_s, late_from
        time.sleep(0.0001)


@cache
def _page() -> mmap.mmap:
    """Shared with a process that ends with this one; begun at the first use."""
    with tempfile.TemporaryFile() as file:
        file.truncate(mmap.PAGESIZE)
        page = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        number = file.fileno()
        beside = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(number)],
            stdin=subprocess.PIPE,
            pass_fds=[number],
            start_new_session=True,
        )
    _beside.append(beside)  # its stdin is what it lives by
    while not _state(page)[1]:
        if beside.poll() is not None:
            raise RuntimeError("the metronome did not start")
        time.sleep(0.001)
    return page


_beside: list[subprocess.Popen[bytes]] = []


class _Metronome:
    """In the process beside: one thread for each processor."""

    def __init__(self, page: mmap.mmap) -> None:
        self._page = page
        self._lock = threading.Lock()
        self._ticked = dict.fromkeys(os.sched_getaffinity(0), time.monotonic())
        self._lost_s = 0.0
        self._number = 0
        self._known = 0.0  # up to here what was lost is counted

    def run(self) -> None:
        for processor in self._ticked:
            threading.Thread(target=self._tick, args=[processor], daemon=True).start()
        sys.stdin.buffer.read()

    def _tick(self, processor: int) -> None:
        os.sched_setaffinity(0, {processor})  # this thread's alone
        while True:
            time.sleep(_TICK_S)
            with self._lock:
                now = time.monotonic()
                due = self._ticked[processor] + _TICK_S + _SLACK_S
                self._ticked[processor] = now
                self._lost_s += max(0.0, now - max(due, self._known))
                self._known = max(self._known, now if now > due else 0.0)
                late_from = max(min(self._ticked.values()) + _TICK_S + _SLACK_S, self._known)
                self._number += 1
                struct.pack_into("=q", self._page, 24, self._number)
                struct.pack_into("=d", self._page, 8, self._lost_s)
                struct.pack_into("=d", self._page, 16, late_from)
                struct.pack_into("=q", self._page, 0, self._number)


if __name__ == "__main__":
    _Metronome(mmap.mmap(int(sys.argv[1]), mmap.PAGESIZE)).run()
