"""The checkpoint's file: whole or not at all, its owner's alone, and nothing at its place is followed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dynallow.checkpoint import file

DATA = b"what was asked\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint"


def test_write_makes_a_file_that_only_its_owner_may_read_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        file.write(path, DATA)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert file.read(path, 100) == DATA
    assert [entry.name for entry in path.parent.iterdir()] == ["checkpoint"]


def test_write_over_links_that_others_have_put_there_touches_what_they_lead_to_not(path: Path) -> None:
    elsewhere = path.with_name("elsewhere")
    elsewhere.write_bytes(b"somebody's")
    path.symlink_to(elsewhere)
    path.with_name(".checkpoint.new").symlink_to(elsewhere)
    file.write(path, DATA)
    assert elsewhere.read_bytes() == b"somebody's"
    assert not path.is_symlink()
    assert file.read(path, 100) == DATA


def test_write_where_it_cannot_raises_and_leaves_the_old_one(path: Path) -> None:
    file.write(path, DATA)
    path.with_name(".checkpoint.new").mkdir()
    with pytest.raises(OSError, match=r"directory|permitted"):
        file.write(path, b"another")
    assert file.read(path, 100) == DATA


def test_read_where_there_is_nothing_is_none_and_remove_is_quiet(path: Path) -> None:
    assert file.read(path, 100) is None
    file.remove(path)


@pytest.mark.parametrize("what", ["a link", "a second name", "a pipe", "a directory", "open", "large"])
def test_read_what_is_not_ours_alone_raises(path: Path, what: str) -> None:
    if what == "a directory":
        path.mkdir()
    elif what == "a pipe":
        os.mkfifo(path, 0o600)
    else:
        file.write(path, DATA)
        other = path.with_name("other")
        if what == "a link":
            path.rename(other)
            path.symlink_to(other)
        elif what == "a second name":
            other.hardlink_to(path)
        elif what == "open":
            path.chmod(0o620)
    with pytest.raises((OSError, ValueError)):
        file.read(path, len(DATA) - (what == "large"))


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_read_another_users_file_raises(path: Path) -> None:
    file.write(path, DATA)
    os.chown(path, 4711, -1)
    with pytest.raises(ValueError, match="others"):
        file.read(path, 100)
