"""Which process and systemd unit a socket or a user's doings belong to, as far as it can be known.

    a socket that is there     its cgroup ─▶ unit; that cgroup's processes of its user ─▶ name
    … and several names        whose descriptors hold it, where they may be read
    none (refused, closed)     all processes of that user: what they have in common

Reads /proc and the cgroup tree, blocking: for a thread, one at a time. Must not know packets or questions.
Keeps: what is not known is empty, never the likelier of two; whatever a process calls itself is text
without control characters; however many processes there are, no more than some thousands are looked at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from dynallow.firewall.owners import Owner
from dynallow.sight.taskstats import Taskstats

_NAME_MAX: Final = 15  # TASK_COMM_LEN less its end
_PROCESSES_MAX: Final = 4096
_DESCRIPTORS_MAX: Final = 4096
_CGROUPS_MAX: Final = 16384
_READ: Final = 16384
_UNIT = re.compile(r"\.(service|scope|socket|mount|automount|swap|timer|path|device|target)$")


class Who(NamedTuple):
    """Whose it was; what is not known is empty."""

    user: int | None
    process: str = ""
    """The program's name as the kernel has it."""
    unit: str = ""
    pid: int | None = None


class _Process(NamedTuple):
    pid: int
    name: str
    unit: str


class Census:
    """Who is there, as seen since the last `look_anew`."""

    def __init__(self, proc: str = "/proc", cgroups: str = "/sys/fs/cgroup") -> None:
        self._proc = proc
        self._cgroups = next((tree for tree in (cgroups, f"{cgroups}/unified") if _is_version_2(tree)), None)
        self._taskstats = Taskstats()
        self._paths: dict[int, str] = {}
        self._walked = False
        self._pids: list[tuple[int, int]] | None = None
        self._of_user: dict[int, list[_Process]] = {}
        self._of_cgroup: dict[tuple[str, int], list[_Process]] = {}

    def close(self) -> None:
        """Let go of what is open."""
        self._taskstats.close()

    def look_anew(self) -> None:
        """Forget who was there; which cgroup has which number stays."""
        self._walked = False
        self._pids = None
        self._of_user.clear()
        self._of_cgroup.clear()

    def who(self, user: int | None, owner: Owner | None) -> Who:
        """Of what this user's socket did, which is `owner`'s if it was still there."""
        if user is None:
            user = owner.uid if owner is not None else None
        if user is None:
            return Who(None)
        path = self._path(owner.cgroup) if owner is not None else None
        found = self._processes_of(user) if path is None else self._processes_in(path, user)
        if owner is not None and owner.inode and len({process[1:] for process in found}) > 1:
            found = [process for process in found if self._holds(process.pid, owner.inode)] or found
        unit = unit_of(path) if path is not None else _common(process.unit for process in found)
        pid = found[0].pid if len(found) == 1 else None
        return Who(user, _common(process.name for process in found), unit, pid)

    # ------------------------------------------------------------ cgroups

    def _path(self, number: int) -> str | None:
        """Of a cgroup, below the tree's top; None where it is not known, or is the top (no unit)."""
        if number <= 1 or self._cgroups is None:
            return None
        if number not in self._paths and not self._walked:
            self._walked = True
            self._paths = {inode: path for path, inode in _tree(self._cgroups)}
        return self._paths.get(number) or None

    def _processes_in(self, path: str, user: int) -> list[_Process]:
        found = self._of_cgroup.get((path, user))
        if found is None:
            unit = unit_of(path)
            identities = ((pid, self._identity(pid)) for pid in self._members(path))
            found = [_Process(pid, one[1], unit) for pid, one in identities if one and one[0] == user]
            self._of_cgroup[path, user] = found
        return found

    def _members(self, path: str) -> list[int]:
        text = _read(f"{self._cgroups}{path}/cgroup.procs")
        return [int(word) for word in text.split()[:_PROCESSES_MAX] if word != "0"]

    # ------------------------------------------------------------ processes

    def _processes_of(self, user: int) -> list[_Process]:
        found = self._of_user.get(user)
        if found is None:
            if os.path.isdir(f"{self._proc}/1"):
                found = [self._process(pid) for pid in self._pids_of(user)]
            else:
                found = [
                    process
                    for path, _ in _tree(self._cgroups or "")
                    for process in self._processes_in(path, user)
                ]
            found = self._of_user[user] = [process for process in found if process.name]
        return found

    def _pids_of(self, user: int) -> list[int]:
        if self._pids is None:
            self._pids = list(_owners(self._proc))
        return [pid for pid, owner in self._pids if owner == user][:_PROCESSES_MAX]

    def _process(self, pid: int) -> _Process:
        lines = _read(f"{self._proc}/{pid}/cgroup").splitlines()
        paths = {
            head: path for head, _, path in (line[line.find(":") + 1 :].partition(":") for line in lines)
        }
        # With version 1, or both at once, systemd keeps units in a tree of its own.
        unit = unit_of(paths.get("", "")) or unit_of(paths.get("name=systemd", ""))
        return _Process(pid, _shown(_read(f"{self._proc}/{pid}/comm").removesuffix("\n")), unit)

    def _identity(self, pid: int) -> tuple[int, str] | None:
        place = f"{self._proc}/{pid}"
        try:
            user = os.stat(place).st_uid
        except OSError:
            told = self._taskstats.of(pid)
            return None if told is None else (told[0], _shown(told[1]))
        name = _shown(_read(f"{place}/comm").removesuffix("\n"))
        return (user, name) if name else None

    def _holds(self, pid: int, inode: int) -> bool:
        """Whether it has the socket open, if that may be known."""
        place, wanted = f"{self._proc}/{pid}/fd", f"socket:[{inode}]"
        try:
            for descriptor in os.listdir(place)[:_DESCRIPTORS_MAX]:
                try:
                    if os.readlink(f"{place}/{descriptor}") == wanted:
                        return True
                except FileNotFoundError:
                    pass
        except OSError:  # it has ended; or only root, or who may trace it, is told
            pass
        return False


def unit_of(path: str) -> str:
    """The systemd unit of a cgroup: the first part of its path that is one, slices left aside.

    What runs below a user's own manager is `user@UID.service`, or the session's scope.
    """
    for part in path.split("/"):
        unit = part.removeprefix("_")  # how systemd writes what would be one of cgroup's own names
        if _UNIT.search(unit):
            return _shown(unit, 255)
    return ""


def _common(texts: Iterable[str]) -> str:
    """What all of them are; empty when they differ."""
    found = set(texts)
    return found.pop() if len(found) == 1 else ""


def _shown(text: str, size: int = _NAME_MAX) -> str:
    """A process may call itself anything."""
    return "".join([letter if letter.isprintable() else "?" for letter in text[:size]])


def _owners(proc: str) -> Iterator[tuple[int, int]]:
    """(pid, uid) of all processes."""
    try:
        with os.scandir(proc) as entries:
            for entry in entries:
                if entry.name.isdigit():
                    try:
                        yield int(entry.name), entry.stat().st_uid
                    except OSError:
                        pass
    except OSError:
        pass


def _tree(top: str) -> Iterator[tuple[str, int]]:
    """(path below the top, inode number) of its cgroups, those higher up first."""
    waiting = [""]
    count = 0
    while waiting and count < _CGROUPS_MAX and top:
        path = waiting.pop()
        try:
            with os.scandir(top + path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        count += 1
                        below = f"{path}/{entry.name}"
                        waiting.append(below)
                        yield below, entry.inode()
        except OSError:
            pass


def _is_version_2(tree: str) -> bool:
    return os.path.exists(f"{tree}/cgroup.controllers")


def _read(path: str) -> str:
    """As far as it is read at once; empty where it cannot be."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(number, _READ).decode(errors="replace")
        finally:
            os.close(number)
    except OSError:
        return ""
