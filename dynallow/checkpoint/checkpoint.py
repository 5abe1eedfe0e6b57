"""What a restart would lose beside the leases: kept while the agent runs, taken back at its start.

    start  ─ read ─ adopt leases (whole names) ─ further names ─ derived names ─ some answers … the others
    runs   ─ every 5 s at most, if anything has changed ─ a slice a turn of the loop ─ file, off the loop
    stop   ─ once more
    flush, reload, mode ─ `withdrawn`: there is no checkpoint before anything is revoked, and until all is

Nothing of it is believed that the kernel does not bear out (`names.py`, `answers.py`), and nothing at all
where no lease was adopted: then this is another boot, or somebody else's table, and it is removed. It is a
hint; without it a restart asks anew. Knows what is remembered and when; must not know nft or netlink.
Invariant: what was revoked is in no checkpoint that outlives the revocation, wherever the process dies.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, closing, suppress
from itertools import chain
from pathlib import Path
from typing import Final

from dynallow.checkpoint import answers, file, names
from dynallow.checkpoint.lines import SIZE_MAX, Header, seal, unseal
from dynallow.lease.ledger import Ledger
from dynallow.policy.names import Name
from dynallow.resolver.road import Road

log = logging.getLogger(__name__)

FILE: Final = "checkpoint"
_EVERY_S: Final = 5.0
_SHARE: Final = 200
"""One part in so many of a core's time, at most, goes into checkpoints."""
_AT_ONCE: Final = 64
"""Answers taken back before the first question is answered; about a millisecond for ten."""
_A_TURN: Final = 8
_NEVER: Final = (-1, -1)
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class Checkpoint:
    """One agent's; its file lies beside the control socket."""

    def __init__(
        self, control: Path, road: Road, ledger: Ledger, comment: names.Comment, boot: str | None = None
    ) -> None:
        self.path = control.with_name(FILE)
        self.why_not: str | None = None
        """The last one could not be written, and why."""
        self.written = 0
        """Bytes of the last one."""
        self._road = road
        self._ledger = ledger
        self._comment = comment
        self._boot = read_boot() if boot is None else boot
        self._lines: dict[str, list[str]] = {}
        self._further = 0
        self._left: list[str] = []
        """Answers that are not taken back yet."""
        self._whole: dict[str, Name] = {}
        self._generation = 0
        self._kept = self._state()
        self._writing = asyncio.Lock()
        self._withdrawing = 0

    # ------------------------------------------------------------ start

    def read(self) -> None:
        """Look what there is; before the leases are adopted. Raises nothing: without it all goes on."""
        try:
            data = file.read(self.path, SIZE_MAX)
            if data is None:
                return
            header, lines = unseal(data)
            if header.boot != self._boot or header.written > self._road.clock():
                raise ValueError("it is of another boot")
        except (OSError, ValueError) as error:
            log.warning("the checkpoint %s is left alone: %s", self.path, error)
            return
        self._lines = lines
        self._whole = names.whole_names(lines["name"][: names.NAMES_MAX], self._comment)

    def name_of(self, comment: str) -> Name:
        """The name that a cut comment was made of; empty when that is not known."""
        return self._whole.get(comment, b"")

    def recall_names(self, unjustified: Callable[[str, Name], bool]) -> None:
        """Take further names of the leases back, before it is judged which of these have lost their rule."""
        self._whole = {}
        claims = self._lines.pop("claim", [])
        self._further = names.recall(claims, self._ledger, unjustified, self._road.clock())

    def recall(self, adopted: int) -> None:
        """Take back what the adopted leases bear out; the answers that `keep` goes on with are left."""
        self._generation, self._kept = self._road.generation, self._state()
        lines, self._lines = self._lines, {}
        if not adopted:
            # Of an earlier boot, it may be, where the system does not tell and the file outlived it: the next
            # start will find leases, and it must not find this beside them.
            with suppress(OSError):
                file.remove(self.path)
        if not adopted or not lines:
            return
        now = self._road.clock()
        derived = names.recall_derived(lines["derived"], self._road, self._ledger, now)
        told = lines["answer"][: answers.ANSWERS_MAX]
        self._left = told[_AT_ONCE:]
        count = self._recall(told[:_AT_ONCE])
        log.info(
            "checkpoint: %d further names of leases, %d derived names, %d of %d answers at once",
            self._further, derived, count, len(told),
        )  # fmt: skip

    def _recall(self, lines: list[str]) -> int:
        blocked = {address for address, _ in self._ledger.revoked(self._road.clock())}
        return sum(answers.recall(line, self._road, self._ledger, blocked) for line in lines)

    # ------------------------------------------------------------ while it runs

    async def keep(self) -> None:
        """Take the other answers back, then write whenever something has changed; until cancelled."""
        while self._left:
            await asyncio.sleep(0)
            if self._generation != self._road.generation:
                self._left = []  # leases or rules were taken away meanwhile: what is asked for is asked anew
            now, self._left = self._left[:_A_TURN], self._left[_A_TURN:]
            self._recall(now)
        every_s = _EVERY_S
        while True:
            await asyncio.sleep(every_s)
            every_s = max(_EVERY_S, _SHARE * await self.write())

    async def write(self) -> float:
        """Write it if anything has changed, a slice a turn of the loop; returns the loop's time it took."""
        async with self._writing:
            state = self._state()
            if state == self._kept:
                return 0.0
            took_s, lines = 0.0, []
            with closing(self._remember()) as slices:
                while True:
                    began = time.thread_time()
                    some = next(slices, None)
                    took_s += time.thread_time() - began
                    if some is None:
                        break
                    lines += some
                    await asyncio.sleep(0)
                    if self._withdrawing or self._road.generation != state[0]:
                        return took_s
            header = Header(self._boot, self._road.clock())
            await asyncio.to_thread(self._put, header, lines)
            self._kept = state
        return took_s

    async def save(self) -> None:
        """Write it at the end, when no question is answered any more."""
        async with self._writing:
            lines = [*chain.from_iterable(self._remember())]
            if self._generation == self._road.generation:
                lines += [f"answer {line}\n" for line in self._left]
            await asyncio.to_thread(self._put, Header(self._boot, self._road.clock()), lines)

    @asynccontextmanager
    async def withdrawn(self) -> AsyncIterator[None]:
        """There is no checkpoint from here to the end of the block, in which something is revoked."""
        self._withdrawing += 1
        try:
            async with self._writing:
                try:
                    await asyncio.to_thread(file.remove, self.path)
                except OSError as error:
                    # What it says is still held against the kernel's sets, from which the revoked is gone.
                    log.error("the checkpoint %s cannot be removed: %s", self.path, error.strerror)
                self._kept = _NEVER
                yield
        finally:
            self._withdrawing -= 1

    def _remember(self) -> Generator[list[str], None, None]:
        road = self._road
        yield from names.remember_derived(road, self._ledger)
        yield from names.remember(self._ledger, self._comment, road.clock)
        yield from answers.remember(road)

    def _put(self, header: Header, lines: list[str]) -> None:
        data = seal(header, lines)
        try:
            file.write(self.path, data)
        except OSError as error:
            if self.why_not is None:
                log.error("the checkpoint %s cannot be written: %s", self.path, error.strerror)
            self.why_not = error.strerror
            return
        self.why_not, self.written = None, len(data)

    def _state(self) -> tuple[int, int]:
        """Changes with whatever a checkpoint tells of: it comes by an upstream's answer, or goes at once."""
        counts = self._road.counts
        return self._road.generation, counts.fresh + counts.renewed


def read_boot() -> str:
    """This boot's id; empty where the system does not tell, as under the unit's ProcSubset=pid."""
    try:
        return _BOOT.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
