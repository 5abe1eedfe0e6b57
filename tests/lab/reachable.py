"""Makes the project and its Python readable by every user of the lab's host.

Knows mounts. A clone below /root (0700) is usual, and the agent must also be
tried as a user of its own there. Invariant: the machine's directories keep
their modes; only the host's mount namespace sees an open way in.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from tests.lab.namespace import Namespace
from tests.lab.needs import ROOT


def make_reachable(place: Namespace) -> None:
    """Bind the project, the venv and Python's own files below directories that all may enter."""
    wanted = {Path(path).resolve() for path in (ROOT, sys.prefix, sys.base_prefix)}
    closed = {shut for path in wanted if (shut := _closed_ancestor(path)) is not None}
    if not closed:
        return
    stash = place.directory / "stash"
    lines = []
    inside = sorted(path for path in wanted if _closed_ancestor(path) is not None)
    for number, path in enumerate(inside):
        kept = shlex.quote(f"{stash}/{number}")
        lines += [f"mkdir -p {kept}", f"mount --bind {shlex.quote(str(path))} {kept}"]
    # Outermost only: a tmpfs over /root hides everything below it at once.
    outermost = [d for d in closed if not any(other != d and d.is_relative_to(other) for other in closed)]
    lines += [f"mount -t tmpfs -o mode=0755 none {shlex.quote(str(directory))}" for directory in outermost]
    for number, path in enumerate(inside):
        there = shlex.quote(str(path))
        lines += [f"mkdir -p {there}", f"mount --bind {shlex.quote(f'{stash}/{number}')} {there}"]
    # Nothing of the project may hang below a directory that the lab deletes.
    lines += [f"umount {shlex.quote(f'{stash}/{number}')}" for number in range(len(inside))]
    place.run(["sh", "-ec", "umask 022\n" + "\n".join(lines)])


def _closed_ancestor(path: Path) -> Path | None:
    """The outermost directory on the way to `path` that others may not enter."""
    for directory in reversed(path.parents):
        if not os.stat(directory).st_mode & 0o001:
            return directory
    return None
