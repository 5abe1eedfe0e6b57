"""What is in the file and what is on its way there, told as one.

Knows when to write, and what to do where that fails; must not know where counts come from. Threads:
`changed`, `due` and `close` run in the loop's, all else in others: it takes long, or waits for the disk.
Keeps: a row is told once, whether it is written, being written or to be written; what could not be written is
kept, as far as there is room, and tried again; a disk that is full or slow costs nobody else anything.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from dynallow.settings import Loaded, Settings
from dynallow.sight.history import Batch, History
from dynallow.sight.reading import Change, HistoryError, Reading
from dynallow.sight.unwritten import MINUTE_S, Row, Unwritten
from dynallow.usage.lines import Line
from dynallow.usage.record import Record, Subject

log = logging.getLogger(__name__)

T = TypeVar("T")

_EVERY_S: Final = 5.0
_AGAIN_S: Final = 20.0
"""After a failure."""
_SHARE: Final = 100
"""One part in so many of the time, at most, goes into writing."""
_TIDY_S: Final = 3600.0
_TIDY_FIRST_S: Final = 600.0
"""Not at once: a clock that is wrong at boot would have everything taken for too old."""
_UNKEPT_S: Final = 3600.0
"""Where no file is kept, so much stays in memory."""
_CHANGES_MAX: Final = 100


class _Pending(NamedTuple):
    """On its way to the file."""

    serial: int
    batch: Batch
    lines: list[Line]


class Keeping:
    """One agent's."""

    def __init__(
        self,
        path: Path,
        settings: Callable[[], Settings],
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.why_not: str | None = None
        """The file could not be written, and why."""
        self._settings = settings
        self._clock, self._wall = clock, wall
        history = settings().history
        self._history = History(path, history.keep, history.max_size)
        self._unwritten = Unwritten()
        self._flip = threading.Lock()
        self._writes = threading.Lock()
        self._pending: _Pending | None = None
        self._serial = 0
        self._denied: int | None = None
        """Denied packets that were told or given up, since there are marks."""
        self._changes: deque[tuple[Change, Loaded | None]] = deque()
        """With what was loaded then, as long as it has no sign yet."""
        self._next = 0.0
        self._tidy_next = clock() + _TIDY_FIRST_S

    @property
    def kept(self) -> bool:
        """Whether anything is to be kept."""
        return self._settings().history.keep > 0

    # ------------------------------------------------------------ on the way to the file

    def begin(self) -> bytes:
        """Open the file; the marks that were left there. Raises nothing."""
        if not self.kept:
            return b""
        try:
            with self._writes:
                marks, self._denied = self._history.marks()
                self._serial = self._history.serial()
        except HistoryError as error:
            self._fail(error)
            return b""
        return marks

    def account(self, told: int, total: int) -> int:
        """How many of the `total` denied packets are in no tally; `told` were in those of this look."""
        if self._denied is None:  # what was before the first marks is nobody's
            self._denied = max(total, told)
            return 0
        self._denied += told
        lost = max(total - self._denied, 0)
        self._denied += lost
        return lost

    def add(self, records: Iterable[Record]) -> None:
        """Counted just now."""
        with self._flip:
            for record in records:
                self._unwritten.add(record)

    def changed(self, kind: str, loaded: Loaded, mode: str, text: str) -> None:
        """To be kept with its time."""
        if len(self._changes) < _CHANGES_MAX:
            self._changes.append((Change(self._wall(), kind, mode, "", text), loaded))

    def due(self) -> bool:
        """Whether it is time to write."""
        return self._clock() >= self._next

    def take(self, lines: list[Line], marks: bytes | None) -> bool:
        """What there is goes on its way, with the marks up to which it was counted; whether it does."""
        self._sign()
        told = [(line.at, json.dumps(line._asdict())) for line in lines]
        with self._flip:
            if self._pending is not None or not self.kept:
                return False
            self._serial += 1
            changes = []
            while self._changes and self._changes[0][1] is None:
                changes.append(self._changes.popleft()[0])
            batch = Batch(self._unwritten.take(), told, changes, marks, self._denied, self._serial)
            self._pending = _Pending(self._serial, batch, lines)
        return True

    def _sign(self) -> None:
        """Hold nothing of what was loaded for its sign's sake. The loop's thread may add others meanwhile."""
        for number, (change, loaded) in enumerate([*self._changes]):
            if loaded is not None:
                self._changes[number] = (change._replace(policy=digest(loaded)), None)

    def write(self) -> list[Line]:
        """Write it; the lines that could not be. Raises nothing."""
        with self._writes:
            settings = self._settings().history
            self._history.keep_s, self._history.size_max = settings.keep, settings.max_size
            if not self.kept:
                self._history.remove()
                with self._flip:
                    self._unwritten.drop_before(self._wall() - _UNKEPT_S)
                self._next = self._clock() + _EVERY_S
                return []
            pending = self._pending
            if pending is None:
                return []
            began = time.monotonic()
            try:
                if not pending.batch.is_empty:
                    self._history.write(pending.batch)
                if self._clock() >= self._tidy_next:
                    self._tidy_next = self._clock() + _TIDY_S
                    self._history.tidy(self._wall())
            except HistoryError as error:
                self._fail(error)
                written = self._written()
            else:
                if self.why_not is not None:
                    log.warning("%s is written again", self._history.path)
                self.why_not = None
                written = True
                self._next = self._clock() + max(_EVERY_S, (time.monotonic() - began) * _SHARE)
            with self._flip:
                self._pending = None
                if written:
                    return []
                self._unwritten.give_back(pending.batch.rows)
                self._changes.extendleft((change, None) for change in reversed(pending.batch.changes))
                while len(self._changes) > _CHANGES_MAX:
                    self._changes.popleft()
            return pending.lines

    def _written(self) -> bool:
        """Whether what has failed had been written (then it was the tidying)."""
        try:
            return self._history.serial() == self._serial
        except HistoryError:
            return False

    def _fail(self, error: HistoryError) -> None:
        self._next = self._clock() + _AGAIN_S
        why_not = f"the history is not kept: {self._history.path}: {error}"
        if self.why_not is None:
            log.error("%s", why_not)
        self.why_not = why_not

    def close(self) -> None:
        """Let go of the file."""
        self._history.close()

    # ------------------------------------------------------------ looking back

    def window(self, since: float, until: float) -> list[Record]:
        """The records of the window, several of a subject maybe."""
        reading, rows = self._now()
        records = [
            record
            for minute, record in rows
            if minute + MINUTE_S > since and record.last >= since and record.first < until
        ]
        return records + _of(reading, lambda reading: reading.window(since, until))

    def about(self, names: Collection[str], addresses: Collection[str], most: int) -> list[Record]:
        """The records of these names and addresses, several of a subject maybe."""
        reading, rows = self._now()
        records = [
            record
            for _, record in rows
            if record.subject.name in names or record.subject.address in addresses
        ]
        return records + _of(reading, lambda reading: reading.about([*names], [*addresses], most))

    def find(self, wanted: Callable[[Subject], bool]) -> Subject | None:
        """The first subject of that kind."""
        reading, rows = self._now()
        found = _of(reading, lambda reading: [one for one in [reading.find(wanted)] if one is not None])
        found += [record.subject for _, record in rows if wanted(record.subject)]
        return found[0] if found else None

    def steps(self, since: int, step_s: int) -> list[tuple[int, str, str, int]]:
        """(second, kind, decision, times)."""
        reading, rows = self._now()
        steps = [
            (minute, record.subject.kind, record.subject.decision, record.times)
            for minute, record in rows
            if minute >= since
        ]
        return [*_of(reading, lambda reading: reading.steps(since, step_s)), *steps]

    def begins(self) -> float | None:
        """The oldest moment."""
        reading, rows = self._now()
        moments = [record.first for _, record in rows]
        moments += _of(reading, lambda reading: [at for at in [reading.begins()] if at is not None])
        return min(moments, default=None)

    def changes(self, since: float) -> list[Change]:
        """The oldest first."""
        pending = self._pending
        changes = [*(pending.batch.changes if pending is not None else ()), *_signed([*self._changes])]
        reading, _ = self._now()
        return [
            *_of(reading, lambda reading: reading.changes(since)),
            *(change for change in changes if change.at >= since),
        ]

    def lines(self, since: float, unsaved: Sequence[Line]) -> list[Line]:
        """The oldest first."""
        pending = self._pending.lines if self._pending is not None else []
        reading, _ = self._now()
        kept = _of(reading, lambda reading: reading.lines(since))
        return [*(line for text in kept if (line := _line(text)) is not None), *pending, *unsaved]

    def _now(self) -> tuple[Reading | None, list[Row]]:
        """The file, and the rows that are not in it, of one moment."""
        with self._flip:
            rows = self._unwritten.rows()
            reading = None
            if self.kept:
                try:
                    reading = self._history.reading()
                except HistoryError as error:
                    log.debug("the history cannot be read: %s", error)
            pending = self._pending
            if pending is not None and (reading is None or reading.serial < pending.serial):
                rows += pending.batch.rows
        return reading, rows


def _of(reading: Reading | None, ask: Callable[[Reading], list[T]]) -> list[T]:
    if reading is None:
        return []
    with closing(reading):
        try:
            return ask(reading)
        except HistoryError as error:
            log.warning("the history cannot be read: %s", error)
            return []


def digest(loaded: Loaded) -> str:
    """A short sign of the rules and destinations that were loaded."""
    told = repr((loaded.settings.rules, loaded.settings.destinations, loaded.policy.count))
    return hashlib.blake2s(told.encode(errors="replace"), digest_size=6).hexdigest()


def _signed(changes: Iterable[tuple[Change, Loaded | None]]) -> list[Change]:
    return [
        change if loaded is None else change._replace(policy=digest(loaded)) for change, loaded in changes
    ]


def _line(text: str) -> Line | None:
    """The line as it was kept; None for one of a version that had others."""
    try:
        told = json.loads(text)
        return Line(**{**told, "addresses": tuple(told["addresses"])})
    except (ValueError, TypeError, KeyError):
        return None
