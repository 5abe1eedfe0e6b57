"""The last good ruleset, kept as text that `nft -f` takes, for the next boot.

Knows one file and how it is replaced. Must not know who loads it. Keeps: whatever dies or fills up
meanwhile, the file is whole, the old one or the new one; loading it never touches a table that is there.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from dynallow.firewall.ruleset import TABLE, Ruleset
from dynallow.firewall.text import render_table

log = logging.getLogger(__name__)

FILE = "ruleset.nft"
_DIRECTORY = "STATE_DIRECTORY"
# With a table there, "create" fails, and with it the whole transaction.
_ONLY_ALONE = f"create table inet {TABLE}\n"
_HEAD = (
    "# The ruleset that dynallow had loaded last, for dynallow-firewall.service. Written anew at each load:\n"
    "# what you change here is lost. Delete it, and the next boot takes what the settings say.\n"
)


class Kept:
    """The agent's side: each ruleset that it has loaded because the settings say so."""

    def __init__(self) -> None:
        self.why_not: str | None = None
        """The last one could not be kept, and why."""
        self._path = place()
        self._writing = asyncio.Lock()
        self._not_kept: Ruleset | None = None

    async def keep(self, table: Ruleset) -> None:
        """Return when it would survive a power failure, or when it is said that it would not."""
        if self._path is None:
            return
        async with self._writing:
            try:
                await asyncio.to_thread(lambda path: keep(text_of(table), path), self._path)
                self.why_not = self._not_kept = None
            except OSError as error:
                self._not_kept = table
                self.why_not = f"{self._path}: {error.strerror}; the next boot begins with an older ruleset"
                log.error("%s", self.why_not)

    async def again(self) -> None:
        """Keep what could not be kept, now that there may be room."""
        if self._not_kept is not None:
            await self.keep(self._not_kept)


def place(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Where it is kept: in systemd's StateDirectory=; None without one, for nobody would load it."""
    first = environ.get(_DIRECTORY, "").partition(":")[0]
    return Path(first) / FILE if first else None


def text_of(table: Ruleset) -> str:
    """The file's text."""
    return _HEAD + _ONLY_ALONE + render_table(table)


def keep(text: str, path: Path) -> None:
    """Write, and return when it would survive a power failure. Raises OSError; the old file stays then."""
    try:
        if path.read_text() == text:
            return
    except (OSError, UnicodeDecodeError):
        pass
    fresh = path.with_name(f".{path.name}.new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read(path: Path) -> str | None:
    """Its text, to be loaded also beside what is left of a table; None when there is none to be read."""
    try:
        return path.read_text().replace(_ONLY_ALONE, "", 1)
    except (OSError, UnicodeDecodeError):
        return None


def is_enforcing(text: str) -> bool:
    """Whether it is of mode "enforce"."""
    return "hook output priority filter; policy drop;" in text
