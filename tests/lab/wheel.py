"""The project as pip installs it: a wheel of the tree, in a virtual environment of its own.

Knows pip and venv. Must not know what is in the wheel. Without a network: the wheel is built by this
environment's setuptools, and the new environment sees this one's libraries.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from tests.lab.needs import ROOT

_SOURCE = ("pyproject.toml", "README.md", "LICENSE", "dynallow", "config", "systemd")


def build(directory: Path) -> Path:
    """A wheel of the tree, made in `directory`."""
    source = directory / "source"
    source.mkdir()
    for name in _SOURCE:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy2(ROOT / name, source / name)
    _pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(directory), str(source))
    (wheel,) = directory.glob("*.whl")
    return wheel


def install(wheel: Path, directory: Path) -> Path:
    """A new environment in `directory` with the wheel in it; the path of its program."""
    venv.create(directory, with_pip=False, symlinks=True)
    python = directory / "bin/python"
    _pip("--python", str(python), "install", "--no-deps", "--no-index", "--no-compile", str(wheel))
    site = directory / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    (site / "libraries-of-the-tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return directory / "bin/dynallow"


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
