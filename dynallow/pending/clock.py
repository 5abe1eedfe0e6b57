"""Both clocks, and a sign of the boot that one of them counts from.

Knows where the system tells. Under the unit's ProcSubset=pid it does not: then a file that does not
outlive the boot (RuntimeDirectory=) stands for it, and without one the process itself.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from dynallow.pending.state import Moment

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_FILE: Final = "boot"
_DIRECTORY: Final = "RUNTIME_DIRECTORY"
_LONGEST: Final = 64


class Clock:
    """What time it is, in one process."""

    def __init__(self, environ: Mapping[str, str] = os.environ, told: Path = _BOOT) -> None:
        first = environ.get(_DIRECTORY, "").partition(":")[0]
        self._file = Path(first) / _FILE if first else None
        self._unwritten = False
        self.boot = _read(told)
        if not self.boot and self._file is not None:
            self.boot = _read(self._file)
        if not self.boot:
            self.boot = secrets.token_hex(16)
            self._unwritten = self._file is not None

    def now(self) -> Moment:
        """This moment."""
        return Moment(self.boot, time.clock_gettime(time.CLOCK_BOOTTIME), time.time())

    def leave(self) -> None:
        """Have the next process of this boot know it; where that fails it goes by the wall clock."""
        if self._unwritten and self._file is not None:
            with suppress(OSError):
                number = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with open(number, "w") as file:
                    file.write(self.boot)
                self._unwritten = False


def _read(path: Path) -> str:
    try:
        with path.open(encoding="ascii") as file:
            return file.read(_LONGEST).strip()
    except (OSError, UnicodeDecodeError):
        return ""
