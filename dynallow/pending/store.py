"""The files of what is on trial: they survive a power failure at any moment, whole or not at all.

    pending.json               what is on trial, or was taken back; nothing of both: no file
    before-SHA256.settings     the settings to go back to, as `settings.retained` writes them

Knows files and their forms; must not know what follows. Keeps: `pending.json` never names settings that
are not whole on disk; both are the agent's own, and what is found in their place is not followed, waited for
or believed.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, BinaryIO, Final, get_args

from dynallow.pending.state import ANY_FILES, NOTHING, Held, Mode, State, Trial, What
from dynallow.settings import Loaded, retained

FILE: Final = "pending.json"
_BEFORE: Final = "before-{}.settings"
_FRESH: Final = ".pending.new"
_OWNER_ONLY: Final = 0o600
_OTHERS: Final = 0o077
_SIZE_MAX: Final = 64 * 1024
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAKE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Store:
    """One directory's."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE
        self._directory = directory

    def read(self) -> State:
        """What was written last. Raises OSError, and ValueError for what `write` has not written."""
        file = self._open(self.path)
        if file is None:
            return NOTHING
        with file:
            text = file.read(_SIZE_MAX)
        try:
            told = json.loads(text)
            return State(_trial(told["trial"]), _held(told["held"]))
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"it is not dynallow's: {error!r}") from error

    def guess(self) -> State:
        """Where it cannot be read: what is kept to be gone back to, as if all were over."""
        for path in sorted(self._directory.glob(_BEFORE.format("*"))):
            with suppress(OSError, ValueError):
                for _ in self._lines(path.name):
                    pass
                return State(None, Held(path.name, ANY_FILES))
        return NOTHING

    def write(self, state: State) -> None:
        """Return when it would survive a power failure. Raises OSError; the old one may be there then."""
        if state == NOTHING:
            self.path.unlink(missing_ok=True)
        else:
            told = {
                "trial": None if state.trial is None else asdict(state.trial),
                "held": None if state.held is None else asdict(state.held),
            }
            self._replace([json.dumps(told, indent=1).encode("ascii") + b"\n"], lambda: FILE)
        self._sync()
        self.tidy(state)

    def keep(self, loaded: Loaded) -> str:
        """Write the settings down; what they are kept as. They go with the next `write` that names them not.

        Raises OSError.
        """
        digest = hashlib.sha256()

        def lines() -> Iterator[bytes]:
            for line in retained.write(loaded):
                digest.update(line)
                yield line

        name = self._replace(lines(), lambda: _BEFORE.format(digest.hexdigest()))
        self._sync()
        return name

    def before(self, name: str) -> Loaded:
        """The settings that are kept so. Raises OSError, ValueError, SettingsError."""
        return retained.read(self._lines(name))

    def _lines(self, name: str) -> Iterator[bytes]:
        """Those of a whole file; at its end comes a ValueError where it is not."""
        if "/" in name:
            raise ValueError("a file elsewhere")
        file = self._open(self._directory / name)
        if file is None:
            raise FileNotFoundError(2, os.strerror(2), name)
        digest = hashlib.sha256()
        with file:
            for line in file:
                digest.update(line)
                yield line
        if name != _BEFORE.format(digest.hexdigest()):
            raise ValueError("it is not whole")

    def _open(self, path: Path) -> BinaryIO | None:
        try:
            number = os.open(path, _READ)
        except FileNotFoundError:
            return None
        file = open(number, "rb")  # noqa: SIM115 - whoever asked for it closes it
        try:
            found = os.fstat(number)
            if not stat.S_ISREG(found.st_mode):
                raise ValueError("it is no file")
            owners = (os.geteuid(), self._directory.stat().st_uid)
            if found.st_uid not in owners or found.st_mode & _OTHERS or found.st_nlink != 1:
                raise ValueError("others may have written it")
        except BaseException:
            file.close()
            raise
        return file

    def _replace(self, parts: Iterable[bytes], name: Callable[[], str]) -> str:
        """Write, and give it the name that it has then."""
        fresh = self._directory / _FRESH
        fresh.unlink(missing_ok=True)
        try:
            with open(os.open(fresh, _MAKE, _OWNER_ONLY), "wb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            path = fresh.with_name(name())
            fresh.replace(path)
        except BaseException:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise
        return path.name

    def _sync(self) -> None:
        number = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(number)
        finally:
            os.close(number)

    def tidy(self, state: State) -> None:
        """Take away what nobody names any more; a failure leaves it for the next time."""
        named = {one.before for one in (state.trial, state.held) if one is not None}
        with suppress(OSError):
            (self._directory / _FRESH).unlink(missing_ok=True)
            for path in self._directory.glob(_BEFORE.format("*")):
                if path.name not in named:
                    path.unlink(missing_ok=True)


def _trial(told: Any) -> Trial | None:
    if told is None:
        return None
    _check(told, Trial)
    modes, whats = get_args(Mode), get_args(What)
    if told["what"] not in whats or any(told[key] not in modes for key in ("was", "to", "said")):
        raise ValueError("it is not dynallow's")
    return Trial(**told)


def _held(told: Any) -> Held | None:
    if told is None:
        return None
    _check(told, Held)
    return Held(**told)


def _check(told: Any, kind: type[Trial] | type[Held]) -> None:
    """That each field is there, of its type, and nothing else."""
    types: dict[str, tuple[type, ...]] = {"float": (int, float), "int": (int,), "bool": (bool,)}
    expected = {field.name: types.get(str(field.type), (str,)) for field in fields(kind)}
    if set(told) != set(expected) or any(type(told[key]) not in expected[key] for key in expected):
        raise ValueError("it is not dynallow's")
