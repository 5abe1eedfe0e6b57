"""Looks at the kernel's sets and at the agent's process once a second, as long as the soak lasts.

Knows kernelsets.py and /proc. A lease that ends earlier than it did when it was looked at last is written
down with the time between the two looks (invariant 3); who judges knows whether somebody revoked it then.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import NamedTuple

from tests.lab.agent import Agent
from tests.lab.lab import Lab
from tests.netns.kernelsets import KernelSets
from tests.soak.names import RULES

_EVERY_S = 1.0
# What the agent puts on top against the kernel's jiffies, and takes off again when it adopts.
_MARGIN_S = 0.3
_MOST_AT_ONCE = 20  # of one look: a flush takes thousands away


class Sample(NamedTuple):
    """The agent's process at one time (monotonic seconds)."""

    at: float
    pid: int
    rss: int
    descriptors: int


class Cut(NamedTuple):
    """A lease that ended earlier than it should have, between two looks."""

    after: float
    before: float
    since: float
    """When it was first seen to last so long."""
    text: str


class Known(NamedTuple):
    """A lease as it was seen last (monotonic seconds)."""

    ends: float
    looked: float
    since: float


class Watch(threading.Thread):
    """`stop` it before reading what it has seen."""

    def __init__(self, lab: Lab, agent: Agent) -> None:
        super().__init__(daemon=True)
        self.samples: list[Sample] = []
        self.cuts: list[Cut] = []
        self.leases_looked_at = 0
        self.failure = ""
        self._agent = agent
        self._sets = KernelSets(lab.host)
        self._known: dict[tuple[str, str], Known] = {}
        self._at_once = 0
        self._ended = threading.Event()

    def run(self) -> None:
        try:
            while not self._ended.wait(_EVERY_S):
                self._look_at_leases()
                if (sample := sample_of(self._agent.process.pid)) is not None:
                    self.samples.append(sample)
        except Exception as error:  # a thread's failure is heard by nobody else
            self.failure = repr(error)

    def stop(self) -> None:
        self._ended.set()
        self.join()
        self._sets.close()

    def _look_at_leases(self) -> None:
        """A lease's end is what it has left from now; the clock is read before and after."""
        self._at_once = 0
        found: dict[tuple[str, str], Known] = {}
        for rule in RULES:
            looked = time.monotonic()
            try:
                members = self._sets.members(rule)
            except OSError:  # no such set at the moment
                members = {}
            late = time.monotonic() - looked
            for address, left_s in members.items():
                self.leases_looked_at += 1
                ends = looked + left_s
                was = self._known.get((rule, address))
                grown = was is None or ends > was.ends + _MARGIN_S
                found[rule, address] = Known(ends, looked, looked if was is None or grown else was.since)
                if was is not None and ends + late < was.ends - _MARGIN_S:
                    text = f"{address} in {rule} ended {was.ends - ends:.2f} s earlier than it had"
                    self._cut(was, looked + late, text)
        for (rule, address), was in self._known.items():
            if (rule, address) in found or was.ends - _MARGIN_S < time.monotonic():
                continue
            # A dump passes over others when some lapse meanwhile, so it is asked for by its name.
            try:
                left_s = self._sets.left_s(rule, address) or 0.0
            except OSError:
                left_s = 0.0
            now = time.monotonic()
            if now + left_s < was.ends - _MARGIN_S:
                self._cut(was, now, f"{address} went from {rule} {was.ends - now:.2f} s before its end")
            else:
                found[rule, address] = was
        self._known = found

    def _cut(self, was: Known, before: float, text: str) -> None:
        self._at_once += 1
        if self._at_once <= _MOST_AT_ONCE:
            self.cuts.append(Cut(was.looked, before, was.since, text))


def sample_of(pid: int) -> Sample | None:
    """The process as it is; None when it has just ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return None
    return Sample(time.monotonic(), pid, pages * 4096, descriptors) if pages else None


def slope_kib_per_minute(samples: list[Sample], warm_up_s: float) -> float:
    """How resident memory grows, by least squares; each life of the agent has a level of its own."""
    above = below = 0.0
    for pid in {sample.pid for sample in samples}:
        life = [sample for sample in samples if sample.pid == pid]
        life = [sample for sample in life if sample.at - life[0].at > warm_up_s]
        if len(life) < 10:
            continue
        mean_at = sum(sample.at for sample in life) / len(life)
        mean_rss = sum(sample.rss for sample in life) / len(life)
        above += sum((sample.at - mean_at) * (sample.rss - mean_rss) for sample in life)
        below += sum((sample.at - mean_at) ** 2 for sample in life)
    return above / below * 60 / 1024 if below else 0.0
