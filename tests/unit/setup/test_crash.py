"""Killed (SIGKILL, a process of its own) between any two steps of an install or uninstall.

Invariant: the same command given again finishes it, and uninstall undoes it, whatever moment it was; and at
no moment does resolv.conf name nobody.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dynallow.setup.rulers import followed
from dynallow.setup.things import File, Root, spare_of
from tests.unit.setup.hosts import RULERS, install, killed, make, planned, tree, uninstall, write

MOMENTS_MAX = 60
# Every step is written through to the disk, which a busy machine has little of.
_IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
_CHANGED = "/etc/dynallow/dynallow.toml"


def names_a_server(root: Root) -> bool:
    thing = followed(root.look("/etc/resolv.conf"), root.look)
    return isinstance(thing, File) and b"nameserver " in thing.content


def cut_short(root: Root, verb: str, moment: int) -> bool:
    """Kill `verb` at a moment; False where it had come to its end before."""
    if verb == "uninstall":
        install(root)
    was_killed = killed(
        (lambda at: install(root, moment=at)) if verb == "install" else (lambda at: uninstall(root, at)),
        moment,
    )
    assert names_a_server(root)
    return was_killed


@hypothesis_settings(max_examples=12)
@given(
    st.sampled_from(sorted(RULERS)),
    st.sampled_from(["install", "uninstall"]),
    st.integers(0, MOMENTS_MAX),
    st.booleans(),
)
def test_killed_at_any_moment_can_be_finished_and_undone(
    ruler: str, verb: str, moment: int, finished: bool
) -> None:
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY) as directory:
        root = make(Path(directory, "host"), ruler)
        before = tree(root)
        cut_short(root, verb, moment)
        if finished:
            install(root)
            assert planned(root).steps == ()
        uninstall(root)
        assert tree(root) == before


@pytest.mark.slow
@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("verb", ["install", "uninstall"])
@pytest.mark.parametrize("ruler", RULERS)
def test_killed_at_each_moment_can_be_finished_and_undone(
    tmp_path: Path, ruler: str, verb: str, finished: bool
) -> None:
    moment = 0
    while True:
        (tmp_path / str(moment)).mkdir()
        root = make(tmp_path / str(moment), ruler)
        before = tree(root)
        was_killed = cut_short(root, verb, moment)
        if finished:
            install(root)
        uninstall(root)
        assert tree(root) == before, moment
        if not was_killed:
            break
        moment += 1
    assert 20 < moment < MOMENTS_MAX
    print(f"{ruler}, {verb}: killed at {moment} moments")


def test_what_a_crash_leaves_beside_a_file_goes_with_the_uninstall(tmp_path: Path) -> None:
    root = make(tmp_path)
    before = tree(root)
    killed(lambda at: install(root, moment=at), 4)
    for path in (_CHANGED, "/etc/resolv.conf", "/var/lib/dynallow-install/record.json"):
        spare_of(root.at(path)).write_text("half")
    uninstall(root)
    assert tree(root) == before


def test_half_a_write_to_a_mount_point_is_no_edit(tmp_path: Path) -> None:
    """A container's resolv.conf cannot be replaced by renaming; the write may be cut short."""
    root = make(tmp_path)
    before = tree(root)
    killed(lambda at: install(root, moment=at), MOMENTS_MAX // 2)
    root.at("/etc/resolv.conf").write_text("# Written by `dyna")
    uninstall(root)
    assert tree(root) == before


@hypothesis_settings(max_examples=8)
@given(
    st.sampled_from(sorted(RULERS)),
    st.lists(st.sampled_from(["install", "uninstall", "edit", "restore"]), min_size=2, max_size=6),
)
def test_whatever_was_done_in_whatever_order_uninstall_leaves_what_was_before_and_the_edits(
    ruler: str, actions: list[str]
) -> None:
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY) as directory:
        root = make(Path(directory, "host"), ruler)
        before = tree(root)
        edited = False
        for action in actions:
            if action == "install":
                install(root)
            elif action == "uninstall":
                uninstall(root)
            elif root.at(_CHANGED).exists():
                if action == "edit":
                    write(root.directory, _CHANGED, 'mode = "enforce"\n')
                    edited = True
                elif not edited:
                    root.at(_CHANGED).unlink()
        uninstall(root)
        after = tree(root)
        for path in (_CHANGED, "/etc/dynallow") if edited else ():
            assert path in after
            after.pop(path)
        assert after == before
