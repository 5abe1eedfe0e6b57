"""What may stand at a path, as values; looked at and put there in one stroke.

Knows files. Must not know which ones are dynallow's. Keeps: whoever looks at any moment, also after a
crash, sees the old thing or the new one and never half of it; the one exception is a mount point (a
container's resolv.conf), which can only be written to where it stands.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dynallow.errors import SetupError


@dataclass(frozen=True, slots=True)
class Absent:
    """Nothing."""


@dataclass(frozen=True, slots=True)
class File:
    """A regular file; two are the same whatever their time of change (nanoseconds; None: now)."""

    content: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_ns: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory; what is in it is not part of the value."""

    mode: int = 0o755
    uid: int = 0
    gid: int = 0


Thing = Absent | File | Link | Directory
View = Callable[[str], Thing]
"""What stands at an absolute path of the host."""


@dataclass(frozen=True, slots=True)
class Root:
    """The directory that paths of the host begin at: / itself, an image, a test's own."""

    directory: Path

    @property
    def is_live(self) -> bool:
        """Whether it is the running host, whose services may be started."""
        return self.directory == Path("/")

    def at(self, path: str) -> Path:
        """Where `path` is from here. A link on the way that leads out of the root is followed inside it."""
        here = self.directory
        parts = path.strip("/").split("/")
        for _ in range(40):
            for number in range(len(parts) - 1):
                step = here.joinpath(*parts[: number + 1])
                if not self.is_live and step.is_symlink():
                    target = os.path.join("/", *parts[:number], os.readlink(step))
                    parts = [*os.path.normpath(target).strip("/").split("/"), *parts[number + 1 :]]
                    break
            else:
                return here.joinpath(*parts)
        raise SetupError(f"{path}: expected a path in {self.directory}, got links without an end")

    def look(self, path: str) -> Thing:
        """What stands there now; raises SetupError for a device, a socket and the like."""
        return look(self.at(path))


def look(path: Path) -> Thing:
    """What stands at a path of this machine."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return Absent()
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISLNK(found.st_mode):
        return Link(os.readlink(path), found.st_uid, found.st_gid)
    if stat.S_ISDIR(found.st_mode):
        return Directory(mode, found.st_uid, found.st_gid)
    if not stat.S_ISREG(found.st_mode):
        raise SetupError(f"{path}: expected a file, a link or a directory, got something else")
    return File(path.read_bytes(), mode, found.st_uid, found.st_gid, found.st_mtime_ns)


def put(path: Path, thing: Thing) -> None:
    """Have `thing` stand at `path`; raises OSError (ENOTEMPTY: a directory that others have filled)."""
    match thing:
        case Absent():
            _remove(path)
        case Directory():
            if not path.is_dir() or path.is_symlink():
                path.mkdir()
            os.chown(path, thing.uid, thing.gid)
            path.chmod(thing.mode)
        case Link():
            new = _spare(path)
            os.symlink(thing.target, new)
            os.chown(new, thing.uid, thing.gid, follow_symlinks=False)
            os.rename(new, path)
        case File():
            _put_file(path, thing)
    sync(path.parent)


def spare_of(path: Path) -> Path:
    """Where the next thing for `path` is made; a crash may leave it there."""
    return path.with_name(f".{path.name}.dynallow-new")


def sync(directory: Path) -> None:
    """Have the directory's entries on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _spare(path: Path) -> Path:
    new = spare_of(path)
    new.unlink(missing_ok=True)
    return new


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _put_file(path: Path, file: File) -> None:
    new = _spare(path)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        _fill(descriptor, file)
    finally:
        os.close(descriptor)
    try:
        os.rename(new, path)
    except OSError as error:
        new.unlink()
        if error.errno != errno.EBUSY:
            raise
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
        try:
            _fill(descriptor, file)
        finally:
            os.close(descriptor)


def _fill(descriptor: int, file: File) -> None:
    rest = memoryview(file.content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fchown(descriptor, file.uid, file.gid)
    os.fchmod(descriptor, file.mode)
    if file.mtime_ns is not None:
        os.utime(descriptor, ns=(file.mtime_ns, file.mtime_ns))
    os.fsync(descriptor)
