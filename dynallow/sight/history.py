"""What is kept of the past: an SQLite file of counts by minute, by hour once they are two days old.

Knows the file, its tables and its end by age and size; must not know where counts come from. Blocking: for a
thread, one at a time (`reading.py` looks at it beside that). Moments are seconds of the wall clock.

Keeps: a batch is in the file whole or not at all, whenever the process dies (write-ahead log, which a kill
cannot tear; a power failure costs the last seconds, not the file); sums survive compaction; a file that is
corrupt, of another version or not ours is put aside under another name, never opened and never believed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from dynallow.sight.reading import BUSY_S, HOUR_S, Change, Reading, sqlite_told
from dynallow.sight.unwritten import Row
from dynallow.usage.record import Subject

log = logging.getLogger(__name__)

FILE: Final = "history.db"
ASIDE: Final = ".broken"
MODE: Final = 0o640
MINUTES_FOR_S: Final = 2 * 86400
"""So long counts are kept by the minute."""
LINES_MAX: Final = 10_000
CHANGES_MAX: Final = 1_000
_APPLICATION: Final = 0x64796E61  # "dyna"
_VERSION: Final = 1
_BESIDE: Final = ("-wal", "-shm", "-journal")
_ROOM_AFTER: Final = 0.9
"""Where the file is too large, so much of its size is left when the oldest has gone."""
_BROKEN: Final = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))

_SCHEMA = f"""
CREATE TABLE subjects(
    id INTEGER PRIMARY KEY, kind TEXT, decision TEXT, mode TEXT, why TEXT, name TEXT, qtype TEXT,
    address TEXT, port TEXT, rule TEXT, user INTEGER, process TEXT, unit TEXT
);
CREATE TABLE counts(
    at INTEGER, subject INTEGER, times INTEGER, first REAL, last REAL, PRIMARY KEY(at, subject)
) WITHOUT ROWID;
CREATE TABLE lines(number INTEGER PRIMARY KEY, at REAL, line TEXT);
CREATE TABLE changes(at REAL, kind TEXT, mode TEXT, policy TEXT, text TEXT);
CREATE TABLE facts(key TEXT PRIMARY KEY, value);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
"""
_ADD = """
INSERT INTO counts VALUES (?, ?, ?, ?, ?) ON CONFLICT(at, subject) DO UPDATE SET
    times = times + excluded.times, first = min(first, excluded.first), last = max(last, excluded.last)
"""


class _ForeignError(Exception):
    """It is not ours."""


class Batch(NamedTuple):
    """What belongs together."""

    rows: Sequence[Row]
    lines: Sequence[tuple[float, str]] = ()
    changes: Sequence[Change] = ()
    marks: bytes | None = None
    """Up to where the kernel's counters were read; they must not be counted twice."""
    denied: int | None = None
    """Denied packets that were told or given up, since there are marks."""
    serial: int = 0
    """Grows by one with each batch, so that it can be known whether one is in the file."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing happened; then the marks are the last ones."""
        return not (self.rows or self.lines or self.changes)


class History:
    """One agent's file. `keep_s`: the age at which counts go; `size_max`: bytes."""

    def __init__(self, path: Path, keep_s: float, size_max: int) -> None:
        self.path = path
        self.keep_s, self.size_max = keep_s, size_max
        self._file: sqlite3.Connection | None = None
        self._inode = 0

    # ------------------------------------------------------------ its life

    def open(self) -> None:
        """Open or make it. Raises HistoryError."""
        if self._file is not None:
            return
        with sqlite_told():
            try:
                self._open()
            except (sqlite3.Error, _ForeignError) as error:
                self.close()
                if not isinstance(error, _ForeignError) and not _is_broken(error):
                    raise
                self._put_aside(str(error))
                self._open()

    def _open(self) -> None:
        _look_at(self.path)
        fresh = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, MODE)
        try:
            os.fchmod(fresh, MODE)  # whatever the umask; the files beside it are given the same
            self._inode = os.fstat(fresh).st_ino
        finally:
            os.close(fresh)
        self._file = file = sqlite3.connect(
            self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        if not self._ask("SELECT count(*) FROM sqlite_schema"):
            # These two hold for good only if they come before all else.
            file.execute("PRAGMA auto_vacuum = INCREMENTAL")
            file.execute("PRAGMA journal_mode = WAL")
            file.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}COMMIT")
        elif (self._ask("PRAGMA application_id"), self._ask("PRAGMA user_version")) != (
            _APPLICATION,
            _VERSION,
        ):
            raise _ForeignError("it is of another program or version")
        for pragma in (
            "journal_mode = WAL",
            "synchronous = NORMAL",
            "wal_autocheckpoint = 256",
            "journal_size_limit = 1048576",
            "cache_size = -1024",
            "temp_store = MEMORY",
        ):
            file.execute(f"PRAGMA {pragma}")

    def close(self) -> None:
        """Let go of it."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except sqlite3.Error as error:
                log.debug("closing %s: %s", self.path, error)

    def remove(self) -> None:
        """Nothing is to be kept."""
        self.close()
        for ending in ("", *_BESIDE):
            try:
                self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
            except OSError as error:
                log.warning("%s cannot be removed: %s", self.path, error.strerror)

    def _put_aside(self, why: str) -> None:
        aside = self.path.with_name(self.path.name + ASIDE)
        log.error("%s cannot be used (%s): it is put aside as %s and begun anew", self.path, why, aside.name)
        os.replace(self.path, aside)
        for ending in _BESIDE:  # or what it holds would be put into the new one
            beside = self.path.with_name(self.path.name + ending)
            if beside.exists():
                os.replace(beside, aside.with_name(aside.name + ending))

    # ------------------------------------------------------------ writing

    def write(self, batch: Batch) -> None:
        """Add it to what is there, whole. Raises HistoryError; then nothing of it is in the file."""
        with sqlite_told():
            if self._file is not None and not self._is_there():
                self.close()  # somebody took the file away
            self.open()
            try:
                self._write(batch)
            except sqlite3.Error as error:
                if _is_broken(error):
                    self.close()
                    self._put_aside(str(error))
                raise

    def _write(self, batch: Batch) -> None:
        with self._transaction() as file:
            subjects = {record.subject: number_of(record.subject) for _, record in batch.rows}
            file.executemany(
                "INSERT OR IGNORE INTO subjects VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                ((number, *subject) for subject, number in subjects.items()),
            )
            file.executemany(
                _ADD,
                (
                    (at, subjects[record.subject], record.times, record.first, record.last)
                    for at, record in batch.rows
                ),
            )
            if batch.lines:
                file.executemany("INSERT INTO lines(at, line) VALUES (?, ?)", batch.lines)
                file.execute(
                    "DELETE FROM lines WHERE number <= (SELECT max(number) FROM lines) - ?", (LINES_MAX,)
                )
            if batch.changes:
                file.executemany("INSERT INTO changes VALUES (?,?,?,?,?)", batch.changes)
                file.execute(
                    "DELETE FROM changes WHERE rowid <= (SELECT max(rowid) FROM changes) - ?", (CHANGES_MAX,)
                )
            if batch.marks is not None:
                file.execute("INSERT OR REPLACE INTO facts VALUES ('marks', ?)", (batch.marks,))
                file.execute("INSERT OR REPLACE INTO facts VALUES ('denied', ?)", (batch.denied,))
            file.execute("INSERT OR REPLACE INTO facts VALUES ('serial', ?)", (batch.serial,))
        self._shrink()

    def tidy(self, now: float) -> None:
        """Minutes that are old enough become hours, and what is too old goes. Raises HistoryError."""
        with sqlite_told():
            self.open()
            with self._transaction() as file:
                file.execute("DELETE FROM counts WHERE at < ?", (now - self.keep_s,))
                file.execute("DELETE FROM lines WHERE at < ?", (now - self.keep_s,))
                file.execute("DELETE FROM changes WHERE at < ?", (now - self.keep_s,))
            while self._compact(now):
                pass
            self._forget_subjects()
            self._shrink()

    def _compact(self, now: float) -> bool:
        """One hour; whether there was one to be compacted."""
        before = int(now - MINUTES_FOR_S) // HOUR_S * HOUR_S
        done = self._fact("compacted") or 0
        at = self._ask("SELECT min(at) FROM counts WHERE at >= ? AND at < ? AND at % 3600", done, before)
        if at is None:
            return False
        hour = at // HOUR_S * HOUR_S
        with self._transaction() as file:
            file.execute(
                "CREATE TEMP TABLE merged AS SELECT subject, sum(times) AS times, min(first) AS first, "
                "max(last) AS last FROM counts WHERE at >= ? AND at < ? GROUP BY subject",
                (hour, hour + HOUR_S),
            )
            file.execute("DELETE FROM counts WHERE at >= ? AND at < ?", (hour, hour + HOUR_S))
            file.execute("INSERT INTO counts SELECT ?, subject, times, first, last FROM temp.merged", (hour,))
            file.execute("DROP TABLE temp.merged")
            file.execute("INSERT OR REPLACE INTO facts VALUES ('compacted', ?)", (hour + HOUR_S,))
        return True

    def _shrink(self) -> None:
        """Let the oldest go until the file has its size again."""
        if self._size() <= self.size_max:
            return
        while self._size() > self.size_max * _ROOM_AFTER:
            count = self._ask("SELECT count(*) FROM counts")
            last = self._ask("SELECT at FROM counts ORDER BY at LIMIT 1 OFFSET ?", count // 10)
            with self._transaction() as file:
                file.execute("DELETE FROM lines WHERE number < (SELECT avg(number) FROM lines)")
                file.execute("DELETE FROM counts WHERE at <= ?", (last if last is not None else 2**62,))
            self._forget_subjects()
            if not count:
                break
        if self._file is not None:
            self._file.execute("PRAGMA incremental_vacuum").fetchall()

    def _forget_subjects(self) -> None:
        with self._transaction() as file:
            file.execute("DELETE FROM subjects WHERE id NOT IN (SELECT subject FROM counts)")

    def _size(self) -> int:
        """Bytes in use; the pages that are free are used before the file grows."""
        pages = self._ask("PRAGMA page_count") - self._ask("PRAGMA freelist_count")
        return int(pages) * int(self._ask("PRAGMA page_size"))

    # ------------------------------------------------------------ looking

    def marks(self) -> tuple[bytes, int | None]:
        """`marks` and `denied` of the last batch; empty where there was none. Raises HistoryError."""
        with sqlite_told():
            self.open()
            return bytes(self._fact("marks") or b""), self._fact("denied")

    def serial(self) -> int:
        """`Batch.serial` of the last one. Raises HistoryError."""
        with sqlite_told():
            self.open()
            return int(self._fact("serial") or 0)

    def reading(self) -> Reading:
        """What is in the file at this moment. Raises HistoryError."""
        with sqlite_told():
            return Reading(self.path)

    def _fact(self, key: str) -> Any:
        return self._ask("SELECT value FROM facts WHERE key = ?", key)

    def _ask(self, question: str, *given: object) -> Any:
        assert self._file is not None
        row = self._file.execute(question, given).fetchone()
        return None if row is None else row[0]

    def _is_there(self) -> bool:
        try:
            return os.lstat(self.path).st_ino == self._inode
        except OSError:
            return False

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        file = self._file
        assert file is not None
        file.execute("BEGIN IMMEDIATE")
        try:
            yield file
            file.execute("COMMIT")
        except BaseException:
            if file.in_transaction:
                file.execute("ROLLBACK")
            raise


def number_of(subject: Subject) -> int:
    """By which it stands in the file: 63 bits of a digest."""
    told = "\0".join(map(str, subject)).encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2s(told, digest_size=8).digest(), "big") >> 1


def _is_broken(error: BaseException) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _BROKEN


def _look_at(path: Path) -> None:
    """Whether it may be opened: a plain file of our own, or none. Raises _ForeignError, OSError."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
        raise _ForeignError("it is no plain file of the agent's own")
