"""The Debian package of this tree, built as `make deb` does.

Knows the builder. Must not know what should be in the package.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.lab.needs import ROOT, require


def build(directory: Path, version: str | None = None) -> Path:
    """Build it in `directory`, compressed in haste."""
    require("dpkg-deb", "dpkg")
    named = ["--version", version] if version else []
    done = subprocess.run(
        [sys.executable, ROOT / ".ci/deb.py", "--fast", *named, directory],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def run(*argv: str | Path, check: bool = True) -> str:
    """A command's output."""
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=check).stdout
