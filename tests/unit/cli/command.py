"""Running the command as a person would: another process, its output and its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[3]


def environment(**more: str) -> dict[str, str]:
    """The caller's environment without what changes the command's behaviour."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DYNALLOW", "NO_COLOR"))}
    return {**kept, "PYTHONPATH": str(_ROOT), **more}


def dynallow(
    *arguments: str | Path, prefix: tuple[str, ...] = (), **more: str
) -> subprocess.CompletedProcess[str]:
    """Run `dynallow` with these arguments and these environment variables."""
    return subprocess.run(
        [*prefix, sys.executable, "-m", "dynallow", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(**more),
    )
