"""Nothing from the network can act on a terminal, and a pipe gets whole names."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.cli.output import Line, Table, escape, plain
from tests.unit.cli.command import environment
from tests.unit.control.agent import LEASE, MemoryAgent, serving


@given(st.text())
def test_escaped_text_is_printable_and_plain_text_is_kept(text: str) -> None:
    assert escape(text).isprintable()
    if text.isprintable():
        assert escape(text) == text


def test_lone_surrogate_is_escaped() -> None:
    assert escape("a\udc80") == "a\\udc80"


def test_table_aligns_columns_and_escapes_cells() -> None:
    table = Table(("name", "n"), [("a", "1"), ("long\x1b", "22")], frozenset((1,)))
    assert list(plain([Line("head"), table])) == [
        "head",
        "  name       n",
        "  a          1",
        "  long\\x1b  22",
    ]


def test_table_without_rows_is_its_headings() -> None:
    assert list(plain([Table(("a", "b"), [])])) == ["  a  b"]


def on_a_terminal(columns: int, *arguments: str, **more: str) -> str:
    """What the command writes to a terminal of that width."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "dynallow", *arguments],
        stdout=theirs,
        env=environment(TERM="xterm-256color", COLUMNS=str(columns), **more),
    )
    os.close(theirs)
    written = bytearray()
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:
        pass  # EIO: the other side is closed, which is a terminal's end
    os.close(ours)
    assert process.wait(30) == 0
    return written.decode()


@pytest.mark.parametrize(("more", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_terminal_gets_colour_unless_no_color_is_set(
    tmp_path: Path, more: dict[str, str], coloured: bool
) -> None:
    path = tmp_path / "control.sock"
    with serving(MemoryAgent(), path):
        text = on_a_terminal(100, "--socket", str(path), **more)
    assert ("\x1b[" in text) is coloured
    assert "deb.example.org" in text


def test_narrow_terminal_folds_and_loses_no_character(tmp_path: Path) -> None:
    agent, path = MemoryAgent(), tmp_path / "control.sock"
    name = "a-rather-long-name.of-a-mirror.example.org"
    agent.leases = [{**LEASE, "address": "2001:db8:1111:2222:3333:4444:5555:6666", "name": name}]
    with serving(agent, path):
        text = on_a_terminal(50, "--socket", str(path), NO_COLOR="1")
    assert max(map(len, text.splitlines())) <= 50
    rows = [line for line in text.splitlines() if line.strip()]
    start = next(number for number, row in enumerate(rows) if "time left" in row or row.startswith("address"))
    folded = "".join("".join(row.split()) for row in rows[start:])
    assert all(part in folded for part in ("2001:db8", "a-rather"))


def test_markup_in_a_name_is_text(tmp_path: Path) -> None:
    agent, path = MemoryAgent(), tmp_path / "control.sock"
    agent.leases = [{**LEASE, "name": "[red]x[/red].example.org"}]
    with serving(agent, path):
        assert "[red]x[/red].example.org" in on_a_terminal(120, "--socket", str(path), NO_COLOR="1")
