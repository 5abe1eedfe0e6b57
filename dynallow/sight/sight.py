"""The by-stander: sees what was asked, used and denied, and tells it to whoever looks back.

    resolver's lists ─┐
    kernel's counters ─┼─ joined, in a thread ─ by minute ─ file
    samples (who) ────┘                      └─ lines, for those who follow

Knows the rooms whose doings it records; must not decide anything. Invariant: nothing here may hold up,
fail or open anything: what goes wrong is said once, told in `warnings`, and all else goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from dynallow.errors import KernelError
from dynallow.lease.ledger import Ledger
from dynallow.resolver.road import Road
from dynallow.settings import Settings
from dynallow.sight.joining import Counted, Joining
from dynallow.sight.unwritten import MINUTE_S, Unwritten, is_untold
from dynallow.usage.record import Record, total
from dynallow.usage.totals import Totals

log = logging.getLogger(__name__)

_EVERY_S: Final = 1.0


class Counting(Protocol):
    """The kernel's counters; blocking."""

    def read(self) -> Sequence[Counted]:
        """What was counted since the last read. Raises KernelError."""


class Point(NamedTuple):
    """What happened from `at` (wall clock) until the next step; filtered questions count as denied."""

    at: float
    questions_allowed: int
    questions_denied: int
    flows_allowed: int
    flows_denied: int


class Sight:
    """One agent's. `tallies` is set by whoever has the kernel's counters."""

    def __init__(self, road: Road, ledger: Ledger, settings: Callable[[], Settings]) -> None:
        self.tallies: Counting | None = None
        self.joining = Joining(ledger, road.clock, road.wall)
        self._road = road
        self._settings = settings
        self._unwritten = Unwritten()
        self.totals = Totals()
        self._joins = asyncio.Lock()
        self._awake = asyncio.Event()
        road.denials.seen.wake = self._awake.set

    async def watch(self) -> None:
        """For ever: count what has happened."""
        while True:
            try:
                async with asyncio.timeout(_EVERY_S):
                    await self._awake.wait()
            except TimeoutError:
                pass
            self._awake.clear()
            await self.settle()

    async def settle(self) -> None:
        """Return when what has happened by now is in what `records` tells."""
        async with self._joins:
            batches = self._road.denials.seen.drain()
            settings = self._settings()

            def join() -> None:
                for batch in batches:
                    for record in self.joining.questions(batch, settings.lease.grace):
                        self._unwritten.add(record)
                        self.totals.add(record)
                try:
                    tallies = self.tallies.read() if self.tallies is not None else ()
                except KernelError as error:
                    log.debug("the kernel's counters could not be read: %s", error)
                    return
                for record in self.joining.flows(tallies, settings, settings.mode):
                    self._unwritten.add(record)
                    self.totals.add(record)

            await asyncio.to_thread(join)

    # ------------------------------------------------------------ looking back

    def records(self, since: float, until: float | None = None) -> list[Record]:
        """One record a subject of this window (wall clock), the most frequent first.

        To the minute: what was counted in the minute that `since` lies in is told with it. Blocking:
        call it in a thread, after `settle` if it is to tell of the last second too.
        """
        return total(record for record in self._window(since, until) if not is_untold(record.subject))

    def untold(self, since: float, until: float | None = None) -> dict[str, int]:
        """How many denied packets and questions of this window are in no record."""
        sums = {"packets": 0, "questions": 0}
        for record in self._window(since, until):
            if is_untold(record.subject):
                sums["questions" if record.subject.kind == "question" else "packets"] += record.times
        return sums

    def timeline(self, since: float, step_s: int) -> list[Point]:
        """Every step from the one that `since` lies in until now; blocking."""
        first = int(since // step_s) * step_s
        steps = [[0, 0, 0, 0] for _ in range(max(int((self._road.wall() - first) // step_s) + 1, 1))]
        for minute, record in self._unwritten.rows():
            place = (minute - first) // step_s
            if 0 <= place < len(steps):
                kind = 0 if record.subject.kind == "question" else 2
                steps[place][kind + (record.subject.decision != "allowed")] += record.times
        return [Point(float(first + step_s * number), *counts) for number, counts in enumerate(steps)]

    def begins(self) -> float | None:
        """The oldest moment that is kept; None where nothing is."""
        return min((record.first for _, record in self._unwritten.rows()), default=None)

    def _window(self, since: float, until: float | None) -> list[Record]:
        return [
            record
            for minute, record in self._unwritten.rows()
            if minute + MINUTE_S > since and (until is None or record.first < until)
        ]
