"""Nothing from the network can act on a terminal, and a pipe gets whole names."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.cli.output import Line, Table, escape, plain, print_json, show
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
    assert process.wait(90) == 0
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


def test_narrow_terminal_gets_whole_names_and_addresses(tmp_path: Path) -> None:
    agent, path = MemoryAgent(), tmp_path / "control.sock"
    name, address = "a-rather-long-name.of-a-mirror.example.org", "2001:db8:1111:2222:3333:4444:5555:6666"
    agent.leases = [{**LEASE, "address": address, "name": name}]
    with serving(agent, path):
        text = on_a_terminal(50, "--socket", str(path), NO_COLOR="1")
    lines = text.splitlines()
    place = next(number for number, line in enumerate(lines) if address in line)
    assert name in lines[place - 1]  # a line of its own: what is cut off is of no use to anybody
    assert all(len(line) <= 50 for line in lines)


def test_control_characters_in_a_name_reach_no_terminal(tmp_path: Path) -> None:
    agent, path = MemoryAgent(), tmp_path / "control.sock"
    agent.leases = [{**LEASE, "name": "\x1b[2Jx.example.org"}, {**LEASE, "name": "y.example.org"}]
    with serving(agent, path):
        text = on_a_terminal(120, "--socket", str(path))
    assert "\x1b[2J" not in text
    assert "\\x1b[2Jx.example.org" in text
    assert "y.example.org" in text


def test_markup_in_a_name_is_text(tmp_path: Path) -> None:
    agent, path = MemoryAgent(), tmp_path / "control.sock"
    agent.leases = [{**LEASE, "name": "[red]x[/red].example.org"}]
    with serving(agent, path):
        assert "[red]x[/red].example.org" in on_a_terminal(120, "--socket", str(path), NO_COLOR="1")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)


@given(_JSON)
def test_printed_json_reads_back_as_the_value(value: object) -> None:
    written = StringIO()
    with redirect_stdout(written):
        print_json(value)
    assert json.loads(written.getvalue()) == value


def test_printed_json_has_a_line_for_each_lease() -> None:
    written = StringIO()
    with redirect_stdout(written):
        print_json({"rules": [{"rule": "a", "leases": [LEASE, LEASE]}]})
    lines = [line.strip().rstrip(",") for line in written.getvalue().splitlines()]
    assert [json.loads(line) for line in lines if line.startswith('{"address"')] == [LEASE, LEASE]


@pytest.mark.parametrize("name", ['}, {"', "}, {", "},\r{", ",\r"])
def test_printed_json_breaks_lines_between_leases_and_never_within_a_name(name: str) -> None:
    leases = [{**LEASE, "name": name, "packets": number} for number in range(2500)]
    written = StringIO()
    with redirect_stdout(written):
        print_json({"rules": [{"rule": "a", "leases": leases}]})
    lines = [line.strip().rstrip(",") for line in written.getvalue().splitlines()]
    assert [json.loads(line) for line in lines if line.startswith('{"address"')] == leases


def test_long_table_is_printed_whole() -> None:
    written = StringIO()
    with redirect_stdout(written):
        show([Table(("n",), [(str(number),) for number in range(2500)]), Line("end")])
    assert [line.strip() for line in written.getvalue().splitlines()] == ["n", *map(str, range(2500)), "end"]
