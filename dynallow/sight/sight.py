"""The by-stander: sees what was asked, used and denied, and tells it to whoever looks back.

    resolver's lists ──┐
    kernel's counters ─┼─ joined, in a thread ─┬─ by minute ─ file
    samples (who) ─────┘                       └─ lines ─ followers, journal, file

Knows the rooms whose doings it records; must not decide anything. Invariants: nothing here may hold up,
fail or open anything: what goes wrong is said once, told in `why_not`, and all else goes on. What is told
of a window adds up to what was counted, written or not.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol

from dynallow.errors import KernelError
from dynallow.lease.ledger import Ledger
from dynallow.resolver.road import Road
from dynallow.resolver.seen import Batch
from dynallow.settings import Loaded, Settings
from dynallow.sight.history import FILE
from dynallow.sight.joining import ADDRESSES_MAX, Counted, Joined, Joining, Missed, Sample
from dynallow.sight.journal import Journal
from dynallow.sight.keeping import Keeping
from dynallow.sight.lines import Follower, Lines
from dynallow.sight.reading import Change
from dynallow.sight.unwritten import is_untold
from dynallow.usage.lines import Line
from dynallow.usage.record import Mode, Record, Subject, ident, total
from dynallow.usage.totals import Totals

log = logging.getLogger(__name__)

_EVERY_S: Final = 1.0
_COUNT_RARELY_S: Final = 8.0
"""The kernel's counters are read so seldom where nothing is counted."""
_SHARE: Final = 25
"""One part in so many of a core's time, at most, goes into counting, but for who asks for it."""
_SAMPLES_WITHIN_S: Final = 1.0
_BEFORE_CHANGE_S: Final = 2.0
_LAST_S: Final = 2.0
_STATE: Final = "STATE_DIRECTORY"


class Counting(Protocol):
    """The kernel's counters (`firewall/tallies.py`); blocking."""

    def read(self) -> Sequence[Counted]:
        """What was counted since the last read. Raises KernelError."""

    def total(self) -> int:
        """Denied packets in all since there are marks, those that were not counted apart too."""

    def marks(self) -> bytes:
        """Up to where that was, for the next process."""

    def close(self) -> None:
        """Let go of what is open."""


class Sampling(Protocol):
    """Who did it, of a sample (`sight/attributions.py`)."""

    def drain(self) -> Sequence[Sample]:
        """What has become known since the last time."""

    async def settled(self) -> None:
        """Return when nobody was seen who is not known yet."""


class Point(NamedTuple):
    """What happened from `at` (wall clock) until the next step; filtered questions count as denied."""

    at: float
    questions_allowed: int
    questions_denied: int
    flows_allowed: int
    flows_denied: int


class Sight:
    """One agent's. `counting` (which makes the reader of the counters, by the marks that the last one
    left) and `sampling` are set by whoever has them, before `watch`."""

    def __init__(
        self,
        road: Road,
        ledger: Ledger,
        settings: Callable[[], Settings],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.counting: Callable[[bytes], Counting] | None = None
        self.sampling: Sampling | None = None
        self.joining = Joining(ledger, road.clock, road.wall)
        self.lines = Lines(road.clock)
        self._road = road
        self._settings = settings
        self.totals = Totals()
        self._seen = road.denials.seen
        self._counters: Counting | None = None
        self._keeping = Keeping(place(settings(), environ), settings, road.clock, road.wall)
        self._journal = Journal(environ=environ)
        self._joins = asyncio.Lock()
        self._at_work = threading.Lock()
        """Held by who counts or joins: where he is cancelled who waits for it, his thread goes on."""
        self._batches: deque[Batch] = deque()
        self._tallies: list[Counted] = []
        self._lost = self._missed = 0
        self._look_next = self._took_s = 0.0
        self._count_next, self._count_every_s = 0.0, _EVERY_S
        self._trouble = False

    @property
    def why_not(self) -> str | None:
        """Why the file could not be written the last time."""
        return self._keeping.why_not

    def now(self) -> float:
        """The wall clock."""
        return self._road.wall()

    # ------------------------------------------------------------ recording

    async def watch(self) -> None:
        """For ever: count what has happened, and keep it."""
        await asyncio.sleep(_EVERY_S)  # the first answers come before
        async with self._joins:
            await self._begin()
        while True:
            await self._look()
            if self._keeping.due():
                await self._keep()
            await asyncio.sleep(_EVERY_S)

    async def _begin(self) -> None:
        if self._counters is None:
            await asyncio.to_thread(self._open)

    def _open(self) -> None:
        with self._at_work:
            if self._counters is None:  # by nobody else meanwhile: two would tell the same
                marks = self._keeping.begin()
                self._counters = self.counting(marks) if self.counting is not None else None

    async def _look(self) -> None:
        """Once a second, seldomer where that takes long; and into the kernel, where nothing is counted."""
        now = self._road.clock()
        if now < self._look_next:
            return
        count = now >= self._count_next
        if count or self._seen:
            async with self._joins:
                self._took_s = 0.0
                found = await self._settle(count)
            self._look_next = now + self._took_s * _SHARE
            if count:
                busy = found or self.lines.followed
                self._count_every_s = _EVERY_S if busy else min(self._count_every_s * 2, _COUNT_RARELY_S)
                self._count_next = now + self._count_every_s

    async def settle(self, patient: bool = True) -> None:
        """Return when what has happened by now is in what `records` tells.

        `patient`: waits a moment for whose doing the last of it was.
        """
        async with self._joins:
            await self._begin()
            await self._settle(count=True, patient=patient)

    async def before_change(self) -> None:
        """Count what has happened by the rules that it met; whatever goes wrong, they may change soon."""
        await self._road.tasks.briefly(self.settle(patient=False), _BEFORE_CHANGE_S)

    async def _settle(self, count: bool, patient: bool = True) -> bool:
        """Whether the kernel had counted anything."""
        settings, mode = self._settings(), self._settings().mode
        if count:
            await asyncio.to_thread(self._count)
        self._batches.extend(self._seen.drain())
        samples: Sequence[Sample] = ()
        if self.sampling is not None:
            # Whoever was counted was seen before: in a moment it is known who that was.
            with suppress(TimeoutError):
                async with asyncio.timeout(_SAMPLES_WITHIN_S if patient else 0):
                    await self.sampling.settled()
            samples = self.sampling.drain()
        found = bool(self._tallies)
        if self._batches or found or self._lost or self._seen.untold != self._missed or samples:
            joined = await asyncio.to_thread(self._join, samples, settings, mode)
            await self._say(joined.lines, joined.more)
        return found

    def _count(self) -> None:
        """What the kernel has counted, and how many denied packets it had no room to count apart."""
        with self._at_work:
            if self._counters is None:
                return
            began = time.thread_time()
            try:
                total = self._counters.total()  # first: what comes in between is told by the next look
                tallies = self._counters.read()
            except KernelError as error:
                if not self._trouble:
                    log.warning("the kernel's counters cannot be read, it is tried again: %s", error)
                self._trouble = True
                return
            finally:
                self._took_s += time.thread_time() - began
            self._trouble = False
            self._tallies += tallies
            self._lost += self._keeping.account(sum(one.packets for one in tallies if one.denied), total)

    def _join(self, samples: Sequence[Sample], settings: Settings, mode: Mode) -> Joined:
        with self._at_work:
            began = time.thread_time()
            batches = [self._batches.popleft() for _ in range(len(self._batches))]
            tallies, self._tallies = self._tallies, []
            untold = self._seen.untold
            missed = Missed(untold - self._missed, self._lost)
            self._missed, self._lost = untold, 0
            joined = self.joining.join(batches, missed, tallies, samples, settings)
            self._keeping.add(joined.records)
            for record in joined.records:
                self.totals.add(record)
            self._took_s += time.thread_time() - began
            return joined

    async def _keep(self) -> bool:
        """Whether all of it was on its way, not just what was on it before."""
        async with self._joins:  # what was read of the counters is in the rows by now
            lines = self.lines.take_unsaved()
            taken = await asyncio.to_thread(self._take, lines)
        lost = await asyncio.to_thread(self._keeping.write)
        self.lines.give_back(lost if taken else [*lost, *lines])
        return taken

    def _take(self, lines: list[Line]) -> bool:
        with self._at_work:
            marks = self._counters.marks() if self._counters is not None else None
            return self._keeping.take(lines, marks)

    async def close(self) -> None:
        """Keep what there is, for the last time."""
        try:
            async with asyncio.timeout(_LAST_S):
                await self.settle(patient=False)
                if not await self._keep():
                    await self._keep()
        except TimeoutError:
            log.warning("the last seconds of the history were not kept: the disk takes too long")
        except Exception as error:
            log.error("the last seconds of the history were not kept: %s", error, exc_info=error)
        if self._counters is not None:
            self._counters.close()
        self._keeping.close()
        self._journal.close()

    # ------------------------------------------------------------ what others tell

    def changed(
        self, kind: Literal["mode", "reload", "start"], loaded: Loaded, mode: Mode, text: str
    ) -> None:
        """Mode, policy or the process is another from now on."""
        self._keeping.changed(kind, loaded, mode, text)
        self.lines.add([Line(self._road.wall(), kind, "", mode, note=text)])

    def revoked(self, elements: Sequence[tuple[str, bytes]], mode: Mode) -> None:
        """Leases, as (rule, address), were taken away."""
        by_rule: dict[str, list[bytes]] = {}
        for rule, address in elements:
            by_rule.setdefault(rule, []).append(address)
        lines = []
        for rule, addresses in by_rule.items():
            some = tuple([str(ip_address(address)) for address in addresses[:ADDRESSES_MAX]])
            times = len(addresses)
            lines.append(Line(self._road.wall(), "revoked", "", mode, addresses=some, rule=rule, times=times))
        self.lines.add(lines)

    async def _say(self, lines: Sequence[Line], more: int) -> None:
        let = self.lines.add(lines, more)
        if let and self._journal.there:
            await asyncio.to_thread(self._journal.put, let)

    # ------------------------------------------------------------ looking back, in a thread

    def records(self, since: float, until: float | None = None) -> list[Record]:
        """One record a subject of this window (wall clock), the most frequent first.

        To the minute, of what is older than two days to the hour: of one that reaches into the window all is
        told. Blocking: call it in a thread, after `settle` if it is to tell of the last second too.
        """
        return [record for record in self._window(since, until) if not is_untold(record.subject)]

    def about(self, names: Collection[str], addresses: Collection[str], most: int = 1000) -> list[Record]:
        """One record a subject of these names and addresses, the latest first. Blocking."""
        found = total(self._keeping.about(names, addresses, most))
        known = [record for record in found if not is_untold(record.subject)]
        return sorted(known, key=lambda record: -record.last)[:most]

    def find(self, sign: str) -> Subject | None:
        """A subject by its `ident`; None: nothing of it is kept. Blocking."""
        return self._keeping.find(lambda subject: ident(subject) == sign)

    def untold(self, since: float, until: float | None = None) -> dict[str, int]:
        """How many denied packets and questions of this window are in no record. Blocking."""
        sums = {"packets": 0, "questions": 0}
        for record in self._window(since, until):
            if is_untold(record.subject):
                sums["questions" if record.subject.kind == "question" else "packets"] += record.times
        return sums

    def timeline(self, since: float, step_s: int) -> list[Point]:
        """Every step from the one that `since` lies in until now. Blocking."""
        first = int(since // step_s) * step_s
        steps = [[0, 0, 0, 0] for _ in range(max(int((self._road.wall() - first) // step_s) + 1, 1))]
        for at, kind, decision, times in self._keeping.steps(first, step_s):
            place = (at - first) // step_s
            if 0 <= place < len(steps):
                steps[place][(0 if kind == "question" else 2) + (decision != "allowed")] += times
        return [Point(float(first + step_s * number), *counts) for number, counts in enumerate(steps)]

    def begins(self) -> float | None:
        """The oldest moment that is kept; None where nothing is. Blocking."""
        return self._keeping.begins()

    def changes(self, since: float) -> list[Change]:
        """Switches of the mode, changes of the policy and starts since then, the oldest first. Blocking."""
        return self._keeping.changes(since)

    def told(self, since: float) -> list[Line]:
        """The lines of the log since then, as far as they are kept, the oldest first. Blocking."""
        return [line for line in self._keeping.lines(since, self.lines.unsaved()) if line.at >= since]

    def follow(self) -> Follower:
        """Lines as they come; `lines.leave` it when done. Raises TooManyError."""
        return self.lines.follow()

    def _window(self, since: float, until: float | None) -> list[Record]:
        return total(self._keeping.window(since, self._road.wall() + 1 if until is None else until))


def place(settings: Settings, environ: Mapping[str, str]) -> Path:
    """Where the file is: in systemd's StateDirectory=, else beside the control socket."""
    first = environ.get(_STATE, "").partition(":")[0]
    return Path(first) / FILE if first else settings.control.socket.with_name(FILE)
