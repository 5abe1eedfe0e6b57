"""Marks where the system does not tell the boot: the shipped unit's ProcSubset=pid hides /proc/sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynallow.firewall import tallies
from dynallow.firewall.tallies import Tallies
from dynallow.pending.clock import Clock


@pytest.fixture(autouse=True)
def _hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tallies, "_BOOT_ID", tmp_path / "hidden")


def test_marks_under_the_unit_are_believed_by_the_next_agent_of_this_boot(tmp_path: Path) -> None:
    def agent() -> Tallies:
        clock = Clock({"RUNTIME_DIRECTORY": str(tmp_path)}, tmp_path / "hidden")
        clock.leave()
        return Tallies(marks, clock.boot)

    marks = b""
    first = agent()
    first._told.total(5)
    marks = first.marks()
    assert agent()._told.pack(b"b" * 16) == first._told.pack(b"b" * 16)
    (tmp_path / "boot").unlink()  # as /run is after a boot
    assert agent()._told.total(3) == 3


def test_marks_of_no_boot_are_none() -> None:
    assert Tallies().marks() == b""
