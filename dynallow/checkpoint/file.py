"""One file of the agent's own: read if nobody else can have written it, replaced whole, taken away.

Knows files and whose they are; must not know what stands in this one. Keeps: who reads gets the bytes of
one whole writing or nothing; others may not read it, since it tells what was asked; what stands at its
place, whoever put it there, is neither followed nor waited for. Nothing is synced to a disk: it is of no use
after this boot, and what is torn by a power failure is found out by whoever reads.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

_OWNER_ONLY = 0o600
_OTHERS = 0o077
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def read(path: Path, size_max: int) -> bytes | None:
    """Its bytes; None where there is none. Raises ValueError for one that is not ours alone, OSError."""
    try:
        number = os.open(path, _READ)
    except FileNotFoundError:
        return None
    with open(number, "rb") as file:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is no file")
        if found.st_uid != os.geteuid() or found.st_mode & _OTHERS or found.st_nlink != 1:
            raise ValueError("others may have written it")
        if found.st_size > size_max:
            raise ValueError(f"it has {found.st_size} bytes")
        return file.read(size_max)


def write(path: Path, data: bytes) -> None:
    """Replace it in one step. Raises OSError; then what was there stays."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        with open(os.open(fresh, _MAKE, _OWNER_ONLY), "wb") as file:
            file.write(data)
        fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise


def remove(path: Path) -> None:
    """Take it away. Raises OSError."""
    path.unlink(missing_ok=True)
