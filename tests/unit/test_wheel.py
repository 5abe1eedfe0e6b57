"""What `pip install` brings: the program, and the files that `dynallow install` puts on a host.

Invariant: nothing that is needed for that lies in the source tree alone.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lab import wheel
from tests.lab.needs import ROOT
from tests.unit.setup.hosts import make


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    return wheel.install(wheel.build(directory), directory / "venv")


def run(program: Path, *words: str) -> str:
    """From a directory that is not the tree."""
    done = subprocess.run(
        [program, *words], capture_output=True, text=True, timeout=60, check=False, cwd="/", env={}
    )
    assert done.returncode == 0, done
    return done.stdout


def test_program_of_a_wheel_runs_without_the_tree(program: Path) -> None:
    assert run(program, "--version").startswith("dynallow ")
    assert "install" in run(program, "--help")


def test_wheel_has_units_and_settings_as_they_are_in_the_tree(program: Path) -> None:
    shipped = next(program.parents[1].glob("lib/*/site-packages/dynallow/setup/shipped"))
    for room in ("systemd", "config"):
        in_tree = {path.relative_to(ROOT / room): path for path in (ROOT / room).rglob("*") if path.is_file()}
        in_wheel = {
            path.relative_to(shipped / room): path for path in (shipped / room).rglob("*") if path.is_file()
        }
        assert in_wheel.keys() == in_tree.keys()
        assert len(in_tree) > 5
        for name, path in in_wheel.items():
            assert path.read_bytes() == in_tree[name].read_bytes()


def test_install_and_uninstall_by_a_wheel(program: Path, tmp_path: Path) -> None:
    root = make(tmp_path)
    run(program, "install", "--root", str(tmp_path), "--program", "/opt/dynallow/bin/dynallow", "--yes")
    unit = root.at("/etc/systemd/system/dynallow.service").read_text()
    assert unit == (ROOT / "systemd/dynallow.service").read_text()
    assert run(program, "uninstall", "--root", str(tmp_path), "--yes").endswith("dynallow is off this host\n")
