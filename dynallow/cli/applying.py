"""Adding rules to a file of conf.d: the change shown, agreed to, checked with all else, written whole.

Knows files and the terminal. Must not know where the rules come from. Keeps: a reader sees the old file or
the new one; whatever is wrong (a fault of the settings as they would be, a full disk), the old one stays.
"""

from __future__ import annotations

import difflib
import os
import sys
from argparse import Namespace
from contextlib import suppress
from pathlib import Path

from dynallow.cli.output import escape, note
from dynallow.errors import DynallowError
from dynallow.settings import Loaded, load
from dynallow.setup.things import spare_of, sync

_MODE = 0o644


class ApplyError(DynallowError):
    """Nothing was written."""


def apply(args: Namespace, loaded: Loaded, rules: str) -> int:
    """Add `rules` to the file that `args.apply` names; 1 if that was not agreed to."""
    main = loaded.files[0]
    path = target(main, args.apply)
    old = _read(path)
    new = f"{old.rstrip()}\n\n{rules}" if old.strip() else rules
    _show(path, old, new)
    load(main, {path: new})
    if not _is_agreed(args, path):
        print("nothing was written")
        return 1
    _write(path, new)
    print(f"written: {path}")
    note("not in force yet: dynallow reload (dynallow replay shows what it would change)")
    return 0


def target(main: Path, named: Path) -> Path:
    """The file of conf.d that is meant; raises ApplyError for one that the settings would not read."""
    directory = main.parent / "conf.d"
    path = directory / named.name
    inside = named.parent == Path() or os.path.realpath(named.parent) == os.path.realpath(directory)
    if not inside or path.suffix != ".toml" or path.stem == "":
        raise ApplyError(
            f"{named}: expected a file NAME.toml in {directory}, which the settings read",
            "dynallow suggest > FILE writes anywhere",
        )
    return path


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ApplyError(f"{path}: expected a readable file: {error}") from error


def _show(path: Path, old: str, new: str) -> None:
    before = str(path) if old else "/dev/null"
    for line in difflib.unified_diff(old.splitlines(), new.splitlines(), before, str(path), lineterm=""):
        print(escape(line))


def _is_agreed(args: Namespace, path: Path) -> bool:
    if args.yes:
        return True
    if not sys.stdin.isatty():
        raise ApplyError("nobody to ask here: nothing was written", "--yes writes it")
    print(f"write {path}? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _write(path: Path, text: str) -> None:
    """A new file, on the disk before it takes the old one's place, with its mode and owner."""
    place = Path(os.path.realpath(path))
    spare = spare_of(place)
    try:
        place.parent.mkdir(mode=0o755, exist_ok=True)
        spare.unlink(missing_ok=True)
        with spare.open("x", encoding="utf-8") as file:
            _as_before(file.fileno(), place)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(spare, place)
        sync(place.parent)
    except OSError as error:
        with suppress(OSError):
            spare.unlink()
        raise ApplyError(f"{path}: not written: {error.strerror or error}") from error


def _as_before(descriptor: int, place: Path) -> None:
    try:
        known = place.stat()
    except FileNotFoundError:
        os.fchmod(descriptor, _MODE)
        return
    os.fchmod(descriptor, known.st_mode & 0o7777)
    if (known.st_uid, known.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, known.st_uid, known.st_gid)
