"""The files of what is on trial: read only if whole and ours; what cannot be read is taken back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dynallow.pending.clock import Clock
from dynallow.pending.starting import for_boot, resume
from dynallow.pending.state import ANY_FILES, NOTHING, Held, Moment, State, begin, parse_within
from dynallow.pending.store import Store
from dynallow.settings import load

OLD = 'mode = "observe"\n[[rule]]\nname = "old"\nnames = ["old.example.org"]\nnames-from = ["list.txt"]\n'
NEW = 'mode = "enforce"\n'
MOMENT = Moment("a", 10.0, 1e9)
HOSTILE = ["", "{", "[]", "null", '{"trial": 1, "held": null}', '{"trial": {"what": "mode"}, "held": null}']


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "list.txt").write_text("one.example.org\n")
    file = tmp_path / "dynallow.toml"
    file.write_text(OLD)
    return file


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "state").mkdir(mode=0o700)
    return Store(tmp_path / "state")


def test_what_is_written_is_read_and_nothing_leaves_no_file(store: Store, config: Path) -> None:
    name = store.keep(load(config))
    state = State(begin("mode", ("observe", "enforce"), "observe", 60, MOMENT), Held(name, "mark"))
    store.write(state)
    assert store.read() == state
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.before(name).settings == load(config).settings
    store.write(NOTHING)
    assert list(store.path.parent.iterdir()) == []
    assert store.read() == NOTHING


@pytest.mark.parametrize("text", HOSTILE)
def test_file_that_is_none_of_ours_brings_the_settings_before_back(
    store: Store, config: Path, text: str
) -> None:
    store.keep(load(config))
    config.write_text(NEW)
    store.path.write_text(text)
    store.path.chmod(0o600)
    with pytest.raises(ValueError, match=r"."):
        store.read()
    begun = resume(config, {"STATE_DIRECTORY": str(store.path.parent)})
    assert begun.loaded.settings.mode == "observe"
    assert begun.trials.state.held is not None
    assert begun.trials.state.held.tried == ANY_FILES
    assert for_boot(config, store.path.parent).settings.mode == "observe"


@pytest.mark.parametrize("kind", ["link", "writable", "directory", "fifo", "huge"])
def test_file_of_the_wrong_kind_is_neither_followed_nor_waited_for(
    store: Store, config: Path, kind: str, tmp_path: Path
) -> None:
    trial = begin("mode", ("observe", "enforce"), "observe", 60, MOMENT)
    store.write(State(trial))
    match kind:
        case "link":
            store.path.rename(tmp_path / "elsewhere")
            store.path.symlink_to(tmp_path / "elsewhere")
        case "writable":
            store.path.chmod(0o666)
        case "directory":
            store.path.unlink()
            store.path.mkdir()
        case "fifo":
            store.path.unlink()
            os.mkfifo(store.path, 0o600)
        case "huge":
            store.path.write_text(" " * 100_000 + json.dumps({"trial": None, "held": None}))
    begun = resume(config, {"STATE_DIRECTORY": str(store.path.parent)})
    assert (begun.mode, begun.trials.trial) == (None, None)


def test_settings_that_are_not_whole_are_not_believed(store: Store, config: Path) -> None:
    name = store.keep(load(config))
    store.write(State(None, Held(name, "mark")))
    with (store.path.parent / name).open("a") as file:
        file.write("0 evil.example.org\n")
    with pytest.raises(ValueError, match="not whole"):
        store.before(name)
    config.write_text(NEW)
    begun = resume(config, {"STATE_DIRECTORY": str(store.path.parent)})
    assert begun.loaded.settings.mode == "enforce"  # nothing else is left, and that is said
    assert begun.trials.state == NOTHING


def test_time_to_confirm_within_has_bounds() -> None:
    assert parse_within("10s") == 10
    assert parse_within("7d") == 604800
    for text in ("9s", "8d", "", "5", "nan", "-5m"):
        with pytest.raises(ValueError, match="expected"):
            parse_within(text)


def test_boot_that_the_system_does_not_tell_is_known_by_a_file_of_it(tmp_path: Path) -> None:
    environ, none = {"RUNTIME_DIRECTORY": str(tmp_path)}, tmp_path / "none"
    first = Clock(environ, none)
    first.leave()
    assert Clock(environ, none).boot == first.boot
    (tmp_path / "boot").unlink()  # as a reboot does
    assert Clock(environ, none).boot != first.boot
    assert Clock({}, none).boot != Clock({}, none).boot
    assert len(Clock({}).boot) == 36
