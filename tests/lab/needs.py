"""What a test needs of the machine, and where the tools are.

Knows PATH and the kernel's permissions. Invariant: a missing tool is a skip
on a laptop and, through conftest.py, a failure under CI=true.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# sbin: an ordinary user's PATH lacks it. The last one is where .ci/setup
# unpacks name servers that would start a service if apt installed them.
PATH = ":".join(
    dict.fromkeys(
        [
            *os.environ.get("PATH", "").split(":"),
            "/usr/local/sbin",
            "/usr/sbin",
            "/sbin",
            str(ROOT / ".venv/lab/usr/sbin"),
        ]
    )
)
LAB_TOOLS = ("nft", "ip", "unshare", "nsenter", "setpriv", "mount", "openssl", "knotd", "dig", "curl")


def find(tool: str) -> str | None:
    """The path of an executable, or None."""
    return shutil.which(tool, path=PATH)


def require(*tools: str) -> None:
    """Skip the running test when one of `tools` is not installed."""
    missing = [tool for tool in tools if find(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (.ci/setup says how)")


@cache
def namespaces_refused() -> str:
    """Why the kernel does not let this process make namespaces; "" if it does."""
    result = subprocess.run(
        ["unshare", "-n", "-m", "true"], capture_output=True, text=True, check=False, timeout=60
    )
    return result.stderr.strip() if result.returncode else ""


def require_lab() -> None:
    """Skip unless namespaces can be made and every tool of the lab is there."""
    require(*LAB_TOOLS)
    if refused := namespaces_refused():
        pytest.skip(f"no network namespaces: {refused} (run as root, or through `unshare -Urnm`)")


@cache
def has_users() -> bool:
    """Whether other users than the present one exist (not so in `unshare -Urn`)."""
    spans = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(int(first) <= 65534 < int(first) + int(count) for first, _, count in spans)


def require_users() -> None:
    """Skip where only one user id is mapped, so that no process can be someone else."""
    if not has_users():
        pytest.skip("one user id only in this user namespace: run as root")
