"""The history's file as it is at one moment, looked at beside whoever writes it.

Knows the tables (`history.py` makes them); must not write. Blocking: for a thread. Moments are seconds of the
wall clock. Keeps: what a reading tells is of one moment, and no more of it than `TOLD_MAX` subjects.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from dynallow.sight.unwritten import bounded
from dynallow.usage.record import Record, Subject

HOUR_S: Final = 3600
TOLD_MAX: Final = 20_000
"""Subjects of a window, to whoever looks back. A stranger can think up half a million: made values of, they
take 400 MiB, and the interpreter from all others for seconds."""
BUSY_S: Final = 5.0

_WINDOW = """
SELECT kind, decision, mode, why, name, qtype, address, port, rule, user, process, unit,
    sum(times), min(first), max(last)
FROM counts JOIN subjects ON id = subject WHERE at >= ? AND last >= ? AND first < ? GROUP BY subject
ORDER BY decision <> 'allowed', sum(times) DESC
"""
_ABOUT = """
SELECT kind, decision, mode, why, name, qtype, address, port, rule, user, process, unit,
    sum(times), min(first), max(last)
FROM counts JOIN subjects ON id = subject WHERE subject IN (
    SELECT id FROM subjects WHERE name IN (SELECT value FROM json_each(?))
        OR address IN (SELECT value FROM json_each(?))
) GROUP BY subject ORDER BY max(last) DESC LIMIT ?
"""
_SUBJECTS = (
    "SELECT kind, decision, mode, why, name, qtype, address, port, rule, user, process, unit FROM subjects"
)
_STEPS = """
SELECT at - at % ?, kind, decision, sum(times) FROM counts JOIN subjects ON id = subject
WHERE at >= ? GROUP BY 1, 2, 3
"""


class HistoryError(Exception):
    """The file cannot be read or written now; `str` says why."""


class Change(NamedTuple):
    """A change of mode or policy, or a start. `policy` is a short digest of the rules in force."""

    at: float
    kind: str
    mode: str
    policy: str
    text: str


@contextmanager
def sqlite_told() -> Iterator[None]:
    """What sqlite and the system say, as one kind of error."""
    try:
        yield
    except sqlite3.Error as error:
        raise HistoryError(str(error)) from error
    except OSError as error:
        raise HistoryError(error.strerror or str(error)) from error


class Reading:
    """The file as it is when this is made, whatever is written meanwhile. Close it: the log grows until then.

    Each method raises HistoryError.
    """

    def __init__(self, path: Path) -> None:
        self._file = sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro",
            uri=True,
            timeout=BUSY_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._file.execute("BEGIN")
            row = self._file.execute("SELECT value FROM facts WHERE key = 'serial'").fetchone()
            self.serial = 0 if row is None else int(row[0])  # from here on it holds still
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Let go of it."""
        self._file.close()

    def window(self, since: float, until: float) -> list[Record]:
        """One record a subject; of a minute or hour that reaches into the window all of it.

        Of more than `TOLD_MAX` the most frequent, and what stands for the others.
        """
        hour = int(since) // HOUR_S * HOUR_S
        with sqlite_told():
            rows = self._file.execute(_WINDOW, (hour, since, until))
            return bounded((Record(Subject(*row[:12]), *row[12:]) for row in rows), TOLD_MAX)

    def about(self, names: Sequence[str], addresses: Sequence[str], most: int) -> list[Record]:
        """What there is of these names and addresses, the latest first; looked for where the file is read."""
        with sqlite_told():
            given = json.dumps(list(names)), json.dumps(list(addresses)), most
            rows = self._file.execute(_ABOUT, given).fetchall()
        return [Record(Subject(*row[:12]), *row[12:]) for row in rows]

    def find(self, wanted: Callable[[Subject], bool]) -> Subject | None:
        """The first subject of that kind; none is held but it."""
        with sqlite_told():
            rows = self._file.execute(_SUBJECTS)
            return next((subject for row in rows if wanted(subject := Subject(*row))), None)

    def steps(self, since: int, step_s: int) -> list[tuple[int, str, str, int]]:
        """(first second of the step, kind, decision, times) from the step that begins with `since` on."""
        with sqlite_told():
            return self._file.execute(_STEPS, (step_s, since)).fetchall()

    def begins(self) -> float | None:
        """The oldest moment that is kept."""
        with sqlite_told():
            row = self._file.execute(
                "SELECT min(first) FROM counts WHERE at = (SELECT min(at) FROM counts)"
            ).fetchone()
        return None if row is None else row[0]

    def lines(self, since: float) -> list[str]:
        """The lines since then, the oldest first."""
        with sqlite_told():
            rows = self._file.execute("SELECT line FROM lines WHERE at >= ? ORDER BY number", (since,))
            return [row[0] for row in rows]

    def changes(self, since: float) -> list[Change]:
        """The changes since then, the oldest first."""
        with sqlite_told():
            rows = self._file.execute("SELECT * FROM changes WHERE at >= ? ORDER BY rowid", (since,))
            return [Change(*row) for row in rows]
