"""`dynallow report`, against the real server: what it asks for, and the file that it leaves."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynallow.cli.report import _write
from tests.unit.cli.command import dynallow
from tests.unit.cli.page.reports import read
from tests.unit.control.agent import MemoryAgent, serving


@pytest.fixture
def agent() -> MemoryAgent:
    return MemoryAgent()


@pytest.fixture
def socket(tmp_path: Path, agent: MemoryAgent) -> Iterator[Path]:
    path = tmp_path / "control.sock"
    with serving(agent, path):
        yield path


def test_report_is_a_page_of_the_window_asked_for(socket: Path, agent: MemoryAgent, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("an older one")
    ran = dynallow("report", "-o", file, "--since", "1d", "--socket", socket)
    assert (ran.returncode, ran.stdout) == (0, "")
    assert ran.stderr == f"dynallow: written: {file}\n"
    assert "mirror" in " ".join(read(file.read_text()).text)
    assert agent.asked == [
        ("status", None),
        ("history", 86400.0, None, None),
        ("timeline", 86400.0, 900),
        ("readiness", 86400.0),
    ]
    assert stat.S_IMODE(file.stat().st_mode) & 0o400
    assert set(tmp_path.iterdir()) == {file, socket}  # nothing half-written lies about


def test_report_to_stdout_is_the_page_alone(socket: Path) -> None:
    ran = dynallow("report", "-o", "-", "--socket", socket)
    assert (ran.returncode, ran.stderr) == (0, "")
    read(ran.stdout)


def test_report_that_cannot_be_written_fails_and_leaves_nothing(socket: Path, tmp_path: Path) -> None:
    ran = dynallow("report", "-o", tmp_path / "not-there" / "report.html", "--socket", socket)
    assert ran.returncode == 1
    assert "cannot write" in ran.stderr
    assert list(tmp_path.iterdir()) == [socket]


def test_report_without_an_agent_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    assert dynallow("report", "-o", file, "--socket", tmp_path / "none.sock").returncode == 4
    assert not file.exists()


def test_report_needs_a_window_that_means_something(socket: Path, tmp_path: Path) -> None:
    assert dynallow("report", "-o", tmp_path / "x", "--since", "soon", "--socket", socket).returncode == 2


def test_report_does_not_take_the_place_of_what_is_no_file(tmp_path: Path) -> None:
    pipe, link, file = tmp_path / "pipe", tmp_path / "link", tmp_path / "file"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)  # as /dev/null: there before, and for others to use
    try:
        _write(pipe, "the page")
        assert os.read(reader, 100) == b"the page"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    link.symlink_to(file)
    _write(link, "the page")
    assert (link.is_symlink(), file.read_text()) == (True, "the page")
    assert set(tmp_path.iterdir()) == {pipe, link, file}
