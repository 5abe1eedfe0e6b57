"""The verbs `install` and `uninstall` as they are typed, on a host in a directory."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from dynallow.cli.main import main
from dynallow.setup.record import FILE
from tests.unit.setup.hosts import PROGRAM, make, tree


def type_in(tmp_path: Path, *words: str) -> int:
    return main([words[0], "--root", str(tmp_path), *words[1:]])


def test_dry_run_shows_each_step_and_does_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(root := make(tmp_path))
    assert type_in(tmp_path, "install", "--program", PROGRAM, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "write  /etc/dynallow/dynallow.toml" in shown
    assert "write  /etc/resolv.conf, in place of a file of" in shown
    assert "resolv.conf is ruled by: file" in shown
    assert tree(root) == before


def test_nobody_to_ask_does_nothing_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(root := make(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert type_in(tmp_path, "install", "--program", PROGRAM) == 1
    assert "--yes" in capsys.readouterr().err
    assert tree(root) == before


def test_install_twice_and_uninstall_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(root := make(tmp_path))
    assert type_in(tmp_path, "install", "--program", PROGRAM, "--yes") == 0
    assert type_in(tmp_path, "install", "--program", PROGRAM, "--yes") == 0
    assert "nothing to do: dynallow is installed" in capsys.readouterr().out
    assert root.at(FILE).exists()
    assert type_in(tmp_path, "uninstall", "--dry-run") == 0
    assert root.at(FILE).exists()
    assert type_in(tmp_path, "uninstall", "--yes") == 0
    assert type_in(tmp_path, "uninstall", "--yes") == 0
    assert "nothing to do: there is no record" in capsys.readouterr().out
    assert tree(root) == before


def test_fault_is_told_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path)
    assert type_in(tmp_path, "install", "--program", "/opt/none/bin/dynallow", "--yes") == 1
    told = capsys.readouterr().err
    assert "/opt/none/bin/dynallow: expected the dynallow program" in told
    assert "hint: " in told
    assert type_in(tmp_path / "none", "install") == 1
    assert "expected a directory" in capsys.readouterr().err
