"""The file of counts: what is in it adds up, it has its size and its age, and nothing about it is fatal."""

from __future__ import annotations

import os
import resource
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from dynallow.sight.history import (
    ASIDE,
    LINES_MAX,
    MINUTES_FOR_S,
    Batch,
    History,
    number_of,
)
from dynallow.sight.reading import HOUR_S, Change, HistoryError
from dynallow.sight.unwritten import Row, is_untold
from dynallow.usage.record import Record, total
from tests.unit.sight.subjects import MINUTE, question, record

DAY_S = 86400.0
MIB = 1 << 20
CHANGE = Change(MINUTE + 1.0, "mode", "enforce", "abc", "enforce, was observe")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


def history(path: Path, *, keep_s: float = 90 * DAY_S, size_max: int = 64 * MIB) -> History:
    return History(path, keep_s, size_max)


def row(name: str = "evil.example", times: int = 1, at: float = MINUTE + 5.0) -> Row:
    return int(at // 60) * 60, record(name, times, at)


def kept(path: Path) -> list[Record]:
    with closing(history(path).reading()) as reading:
        return total(reading.window(0.0, 1e12))


def test_write_is_read_by_another_and_adds_up(path: Path) -> None:
    first, second = history(path), history(path)
    first.write(Batch([row(times=2), row("b.example")], [(MINUTE + 1.0, "{}")], [CHANGE], b"marks", 7, 1))
    first.close()
    second.write(Batch([row(times=3, at=MINUTE + 50.0), row(times=4, at=MINUTE + 61.0)], serial=2))
    assert second.marks() == (b"marks", 7)
    assert second.serial() == 2
    assert kept(path) == [
        Record(question(), 9, MINUTE + 5.0, MINUTE + 61.0),
        record("b.example"),
    ]
    with closing(second.reading()) as reading:
        assert reading.lines(0.0) == ["{}"]
        assert reading.changes(MINUTE + 1.0) == [CHANGE]
        assert reading.changes(MINUTE + 2.0) == []
        assert reading.begins() == MINUTE + 5.0
        assert reading.steps(MINUTE, 60) == [
            (MINUTE, "question", "denied", 6),
            (MINUTE + 60, "question", "denied", 4),
        ]


def test_window_has_what_reaches_into_it(path: Path) -> None:
    it = history(path)
    it.write(Batch([row(f"n{number}.example", at=MINUTE + 60.0 * number + 30) for number in range(5)]))
    with closing(it.reading()) as reading:
        names = {told.subject.name for told in reading.window(MINUTE + 60.0, MINUTE + 180.0)}
    assert names == {"n1.example", "n2.example"}


def test_file_is_the_agents_and_its_groups_alone_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        it = history(path)
        it.write(Batch([row()]))
        modes = {name.name: stat.S_IMODE(name.stat().st_mode) for name in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"history.db": 0o640, "history.db-wal": 0o640, "history.db-shm": 0o640}
    it.close()


def test_tidy_makes_hours_of_old_minutes_and_keeps_the_sums(path: Path) -> None:
    it = history(path)
    rows = [row(f"n{number % 3}.example", number, MINUTE + 61.0 * number) for number in range(1, 200)]
    it.write(Batch(rows))
    before = kept(path)
    now = MINUTE + MINUTES_FOR_S + 2 * HOUR_S + 100.0
    it.tidy(now)
    assert kept(path) == before
    with closing(sqlite3.connect(path)) as file:
        places = [at for (at,) in file.execute("SELECT DISTINCT at FROM counts ORDER BY at")]
    assert places[:2] == [MINUTE, MINUTE + HOUR_S]
    assert places[2] == MINUTE + 2 * HOUR_S
    assert len(places) > 80  # what is younger is as it was
    it.tidy(now + 90 * DAY_S)
    assert kept(path) == []
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT count(*) FROM subjects").fetchone() == (0,)


def test_tidy_after_counts_of_an_hour_that_is_compacted_already_adds_them(path: Path) -> None:
    it = history(path)
    it.write(Batch([row(at=MINUTE + 61.0)]))
    it.tidy(MINUTE + MINUTES_FOR_S + HOUR_S + 1.0)
    it.write(Batch([row(at=MINUTE + 5.0), row(at=MINUTE + 121.0)]))  # the clock was set back
    it.tidy(MINUTE + MINUTES_FOR_S + HOUR_S + 1.0)
    assert [told.times for told in kept(path)] == [3]


def test_file_that_is_too_large_loses_its_oldest(path: Path) -> None:
    it = history(path, size_max=MIB)
    for minute in range(40):
        it.write(Batch([row(f"n{minute}-{n}.example", at=MINUTE + 60.0 * minute) for n in range(400)]))
        it.write(Batch([], [(MINUTE + 60.0 * minute, "x" * 500)] * 20))
    names = {told.subject.name for told in kept(path)}
    assert "n39-0.example" in names
    assert "n0-0.example" not in names
    assert len(names) > 1000
    it.close()
    assert path.stat().st_size <= 1.25 * MIB


def test_lines_have_an_end(path: Path) -> None:
    it = history(path)
    for _ in range(3):
        it.write(Batch([], [(MINUTE + 1.0, "{}")] * (LINES_MAX // 2)))
    with closing(it.reading()) as reading:
        assert len(reading.lines(0.0)) == LINES_MAX


@pytest.mark.parametrize("damage", ["text", "torn", "foreign", "directory", "link", "newer"])
def test_file_that_is_broken_or_none_of_ours_is_put_aside_and_begun_anew(path: Path, damage: str) -> None:
    it = history(path)
    it.write(Batch([row(f"n{number}.example") for number in range(2000)]))
    it.close()
    match damage:
        case "text":
            path.write_text("not a database, but long enough to look like one\n" * 100)
        case "torn":
            with path.open("r+b") as file:
                file.seek(4096)
                file.write(os.urandom(path.stat().st_size - 4096))
        case "foreign" | "newer":
            with closing(sqlite3.connect(path)) as file:
                file.execute(
                    "PRAGMA application_id = 1" if damage == "foreign" else "PRAGMA user_version = 9"
                )
        case "directory":
            path.unlink()
            path.mkdir()
        case "link":
            path.replace(path.with_name("elsewhere"))
            path.symlink_to("elsewhere")
    again = history(path)
    try:
        again.write(Batch([row("new.example")]))
    except HistoryError:  # some damage shows when it is written into; the next try begins anew
        again.write(Batch([row("new.example")]))
    assert [told.subject.name for told in kept(path)] == ["new.example"]
    assert path.with_name(path.name + ASIDE).exists()
    again.close()
    if damage == "link":
        assert [told.subject.name for told in kept(path.with_name("elsewhere"))][:1] != ["new.example"]


def test_write_after_the_file_was_taken_away_makes_another(path: Path) -> None:
    it = history(path)
    it.write(Batch([row()]))
    for name in path.parent.iterdir():
        name.unlink()
    it.write(Batch([row("b.example")]))
    assert [told.subject.name for told in kept(path)] == ["b.example"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """As if the disk were full: no file grows beyond (Python ignores SIGXFSZ, so that it is EFBIG)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_write_where_there_is_no_room_raises_keeps_what_was_there_and_goes_on_afterwards(path: Path) -> None:
    it = history(path)
    it.write(Batch([row()], serial=1))
    much = Batch([row(f"n{number}.example") for number in range(5000)], marks=b"m", serial=2)
    with largest_file(64 << 10), pytest.raises(HistoryError):
        it.write(much)
    assert it.serial() == 1
    assert [told.subject.name for told in kept(path)] == ["evil.example"]
    it.write(much)
    assert len(kept(path)) == 5001


def test_open_where_nothing_may_be_made_raises(tmp_path: Path) -> None:
    with pytest.raises(HistoryError):
        history(tmp_path / "none" / "history.db").open()


_KILLED = """
import os, sys
from pathlib import Path
from dynallow.sight.history import Batch, History
from tests.unit.sight.test_history import row
it = History(Path(sys.argv[1]), 1e9, 1 << 26)
for serial in range(1, 10**9):
    it.write(Batch([row(f"n{n}.example", serial) for n in range(50)], marks=b"%d" % serial, serial=serial))
    print(serial, flush=True)
"""


def test_kill_in_the_middle_leaves_whole_batches(path: Path) -> None:
    for _ in range(3):
        started = subprocess.Popen(
            [sys.executable, "-c", _KILLED, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert started.stdout is not None
        last = 0
        for line in started.stdout:
            last = int(line)
            if last == 20:
                started.kill()
        started.wait()
        started.stdout.close()
        it = history(path)
        assert it.serial() in (last, last + 1)
        assert it.marks()[0] == b"%d" % it.serial()
        it.close()
        assert {told.times for told in kept(path)} == {kept(path)[0].times}
        assert len(kept(path)) == 50
        path.unlink()
        for name in path.parent.iterdir():
            name.unlink()


def test_number_of_subjects_that_differ_in_one_value_differ() -> None:
    one = question()
    others = [one._replace(**{field: "x"}) for field in one._fields if field != "user"]  # type: ignore[arg-type]
    others += [one._replace(user=0), one._replace(user=None), one]
    assert len({number_of(other) for other in others}) == len(others)
    assert all(0 <= number_of(other) < 2**63 for other in others)


def test_window_of_more_than_may_be_told_has_the_allowed_and_the_most_frequent_and_all_sums(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynallow.sight.reading.TOLD_MAX", 3)
    file = history(path)
    rows = [(MINUTE, record(f"n{number}.example", times=number)) for number in range(1, 6)]
    wanted = Record(question("deb.example", "allowed"), 1, MINUTE + 1.0, MINUTE + 1.0)
    file.write(Batch([*rows, (MINUTE, wanted)]))
    with closing(file.reading()) as reading:
        told = reading.window(0.0, 1e12)
    file.close()
    assert [one.subject.name for one in told] == ["deb.example", "n5.example", "n4.example", ""]
    assert (is_untold(told[3].subject), told[3].times) == (True, 3 + 2 + 1)


def test_about_names_and_addresses_tells_the_latest_of_them_alone_and_no_more_than_asked(path: Path) -> None:
    kept = history(path)
    rows = [row(f"{n}.example", at=MINUTE + 60.0 * n) for n in range(9)]
    kept.write(Batch(rows, serial=1))
    with closing(kept.reading()) as reading:
        found = reading.about(["3.example", "7.example", "x'; DROP TABLE counts; --"], ["192.0.2.1"], 10)
        assert [one.subject.name for one in found] == ["7.example", "3.example"]
        assert [one.subject.name for one in reading.about(["3.example", "7.example"], [], 1)] == ["7.example"]
        assert reading.about([], [], 10) == []


def test_find_tells_the_subject_or_none(path: Path) -> None:
    kept = history(path)
    kept.write(Batch([row("a.example"), row("b.example")], serial=1))
    with closing(kept.reading()) as reading:
        found = reading.find(lambda subject: subject.name == "b.example")
        assert found == row("b.example")[1].subject
        assert reading.find(lambda subject: False) is None
