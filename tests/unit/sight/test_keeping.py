"""What is told of the past, written or not; and what becomes of it where it cannot be written."""

from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import fields
from pathlib import Path

import pytest

from dynallow.settings import Loaded, Settings, load
from dynallow.sight.history import Batch, History
from dynallow.sight.keeping import Keeping
from dynallow.sight.reading import HistoryError
from dynallow.usage.lines import Line
from tests.unit.sight.subjects import MINUTE, record

LINE = Line(MINUTE + 1.0, "mode", "", "enforce", note="enforce, was observe")


class _Loaded(Loaded):
    """One that can be watched."""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def keeping(path: Path, clock: Clock, keep: str = "90d") -> Keeping:
    settings = Settings.model_validate({"history": {"keep": keep}})
    it = Keeping(path / "history.db", lambda: settings, clock, lambda: MINUTE + clock.now)
    it.begin()
    return it


def told(it: Keeping) -> int:
    return sum(one.times for one in it.window(0.0, 1e12))


def test_window_tells_each_row_once_while_it_is_being_written(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = keeping(tmp_path, clock)
    it.add([record(times=5)])
    it.take([LINE], b"marks")
    before, after = told(it), []
    write = History._write

    def looked_at(history: History, batch: Batch) -> None:
        write(history, batch)
        after.append(told(it))  # it is in the file, and still on its way there

    monkeypatch.setattr(History, "_write", looked_at)
    it.add([record(times=7)])
    it.write()
    assert (before, after, told(it)) == (5, [12], 12)


def test_what_was_kept_is_told_by_the_next_one(tmp_path: Path, clock: Clock) -> None:
    it = keeping(tmp_path, clock)
    it.add([record(times=5)])
    assert it.account(3, 10) == 0
    it.take([LINE], b"marks")
    it.write()
    it.close()
    again = Keeping(tmp_path / "history.db", Settings, clock, lambda: MINUTE)
    assert again.begin() == b"marks"
    assert told(again) == 5
    assert again.lines(0.0, []) == [LINE]
    assert again.begins() == MINUTE + 5.0
    again.close()


@pytest.mark.parametrize(("told", "total", "lost"), [(4, 14, 0), (4, 20, 6), (4, 12, 0)])
def test_account_of_packets_that_are_in_no_tally_is_exact_over_a_restart(
    tmp_path: Path, clock: Clock, told: int, total: int, lost: int
) -> None:
    it = keeping(tmp_path, clock)
    assert it.account(3, 10) == 0  # before the first marks: nobody's
    it.add([record()])
    it.take([], b"marks")
    it.write()
    it.close()
    again = keeping(tmp_path, clock)
    assert again.account(told, total) == lost
    assert again.account(0, max(total, 10 + told)) == 0
    again.close()


def test_write_that_fails_is_told_and_tried_again_and_loses_nothing(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = keeping(tmp_path, clock)

    def full(history: History, batch: Batch) -> None:
        raise HistoryError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(History, "write", full)
        it.add([record(times=5)])
        it.take([LINE], b"marks")
        assert it.write() == [LINE]
    assert it.why_not is not None
    assert it.why_not.endswith("history.db: database or disk is full")
    assert not it.due()
    clock.now += 60.0
    assert it.due()
    it.add([record(times=2)])
    it.take([LINE], b"marks")
    assert it.write() == []
    assert it.why_not is None
    assert told(it) == 7


def test_file_that_cannot_be_made_harms_nothing_else(tmp_path: Path, clock: Clock) -> None:
    it = keeping(tmp_path / "none", clock)
    it.add([record(times=5)])
    it.take([], None)
    it.write()
    assert it.why_not is not None
    assert told(it) == 5


def test_keep_of_0s_keeps_no_file_and_removes_what_there_is(tmp_path: Path, clock: Clock) -> None:
    it = keeping(tmp_path, clock)
    it.add([record()])
    it.take([], b"marks")
    it.write()
    it.close()
    none = keeping(tmp_path, clock, "0s")
    none.add([record(times=3)])
    none.take([], b"marks")
    none.write()
    assert list(tmp_path.iterdir()) == []
    assert told(none) == 3  # in memory for an hour
    clock.now += 3700.0
    none.write()
    assert told(none) == 0


def test_readers_beside_a_writer_never_see_less_than_before(tmp_path: Path, clock: Clock) -> None:
    it = keeping(tmp_path, clock)
    ends = threading.Event()
    seen: list[int] = []

    def look() -> None:
        while not ends.is_set():
            seen.append(told(it))

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(60):
        it.add([record(times=1)])
        it.take([], b"marks")
        it.write()
    ends.set()
    reader.join()
    assert seen == sorted(seen)
    assert told(it) == 60
    it.close()


@pytest.mark.parametrize("keep", ["90d", "0s"])
def test_what_was_loaded_is_let_go_of_once_it_is_signed(tmp_path: Path, clock: Clock, keep: str) -> None:
    """A policy of a million names must not be held for each of the last hundred reloads."""
    config = tmp_path / "dynallow.toml"
    config.touch()
    loaded = _Loaded(**{key.name: getattr(load(config), key.name) for key in fields(Loaded)})
    it = keeping(tmp_path, clock, keep)
    it.changed("reload", loaded, "enforce", "1 rule")
    (before,) = it.changes(0.0)
    held = weakref.ref(loaded)
    del loaded
    it.take([], b"marks")
    it.write()
    gc.collect()
    assert held() is None
    assert it.changes(0.0) == [before]
    it.close()


def test_take_while_something_is_on_its_way_leaves_all_for_the_next_time(
    tmp_path: Path, clock: Clock
) -> None:
    it = keeping(tmp_path, clock)
    assert it.take([], b"marks")
    it.add([record(times=5)])
    assert not it.take([LINE], b"marks")
    it.write()
    assert it.take([LINE], b"marks")
    it.write()
    assert (told(it), it.lines(0.0, [])) == (5, [LINE])
    it.close()
