"""Which process and systemd unit a socket or a user's doings belong to, as far as it can be known.

    a socket that is there     its cgroup ─▶ unit; that cgroup's processes of its user ─▶ name
    … and several names        whose descriptors hold it, where they may be read
    none (refused, closed)     all processes of that user: what they have in common, now

Reads /proc and the cgroup tree, blocking: for a thread, one at a time. Must not know packets or questions.
Keeps: what is not known is empty, never the likelier of two that are there (but of a socket that is gone,
whoever sent may have gone too, and another program of his user be told); whatever a process calls itself is
text without control characters; however many there are, no more than some thousands are looked at.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from dynallow.firewall.owners import Owner
from dynallow.sight.taskstats import Taskstats

_NAME_MAX: Final = 15  # TASK_COMM_LEN less its end
_PROCESSES_MAX: Final = 4096
_DESCRIPTORS_MAX: Final = 4096
_CGROUPS_MAX: Final = 16384
_READ: Final = 65536
_HELD_MAX: Final = 1024
_LOOK_S: Final = 1.0
"""So long is believed whose a process is, once it is as old, and who has a socket open."""
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
    """Who is there. What has just happened is asked about after `look_anew`, the sooner the better."""

    def __init__(
        self,
        proc: str = "/proc",
        cgroups: str = "/sys/fs/cgroup",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._proc = proc
        self._cgroups = next((tree for tree in (cgroups, f"{cgroups}/unified") if _is_version_2(tree)), "")
        self._clock = clock
        self._hidden = not os.path.isdir(f"{proc}/1")
        """Others' processes are not shown."""
        self._taskstats = Taskstats()
        self._paths: dict[int, str] = {}
        self._walked = self._listed = False
        self._users: dict[int, tuple[int, float, float]] = {}
        """By pid: whose, since when, until when that is believed."""
        self._places: dict[int, str] = {}
        """By pid: its cgroup's path, where /proc does not tell it."""
        self._known: dict[tuple[str | None, int], Who] = {}
        self._held: dict[int, tuple[Who, float]] = {}
        """By the sockets' inodes, and until when that is believed."""

    def close(self) -> None:
        """Let go of what is open."""
        self._taskstats.close()

    def look_anew(self) -> None:
        """From here on it is about who is there now."""
        self._walked = self._listed = False
        self._known.clear()

    def _list(self) -> None:
        """Who is there: by /proc, or where that hides others by the cgroup tree."""
        self._listed = True
        self._places = dict(self._placed()) if self._hidden else {}
        names = self._places if self._hidden else self._shown()
        known, now = self._users, self._clock()
        self._users = {}
        for pid in islice(names, _PROCESSES_MAX):
            was = known.get(pid)
            if was is not None and now < was[2]:
                self._users[pid] = was
                continue
            user, since = self._user(pid), now if was is None else was[1]
            if user is not None:  # what was begun just now may become another user's in a moment
                self._users[pid] = user, since, now if now - since < _LOOK_S else now + _LOOK_S

    def _shown(self) -> list[int]:
        try:
            return [int(name) for name in os.listdir(self._proc) if name.isdigit()]
        except OSError:
            return []

    def _placed(self) -> Iterator[tuple[int, str]]:
        for path, _ in _tree(self._cgroups):
            for pid in self._members(path):
                yield pid, path

    def who(self, user: int | None, owner: Owner | None) -> Who:
        """Of what this user's socket did, which is `owner`'s if it was still there."""
        if user is None:
            user = owner.uid if owner is not None else None
        if user is None:
            return Who(None)
        if owner is None or not owner.inode:
            return self._in_common(user, None if owner is None else self._path(owner.cgroup))
        now = self._clock()
        who, until = self._held.get(owner.inode, (Who(None), 0.0))
        if now >= until or who.user != user:  # many packets come from few sockets
            who = self._holder(user, self._path(owner.cgroup), owner.inode)
            if len(self._held) >= _HELD_MAX:
                self._held.clear()
            self._held[owner.inode] = who, now + _LOOK_S
        return who

    def _in_common(self, user: int, path: str | None) -> Who:
        """What this user's processes have in common, of this cgroup if there is one."""
        known = self._known.get((path, user))
        if known is None:
            found: list[_Process] = []
            for process in self._processes(path, user):
                found.append(process)
                if path is None and not _common(found, 1) and not _common(found, 2):
                    break
            known = self._known[path, user] = _told(user, path, found)
        return known

    def _holder(self, user: int, path: str | None, inode: int) -> Who:
        """The same, of those that have the socket open, where that may be known and makes a difference."""
        found = list(self._processes(path, user))
        if len({process[1:] for process in found}) > 1:
            found = [process for process in found if self._holds(process.pid, inode)] or found
        return _told(user, path, found)

    def _processes(self, path: str | None, user: int) -> Iterator[_Process]:
        """This user's, in this cgroup if there is one."""
        if path is not None:
            return self._processes_in(path, user)
        if not self._listed:
            self._list()
        pids = (pid for pid, (owner, _, _) in self._users.items() if owner == user)
        return (process for process in map(self._process, pids) if process.name)

    # ------------------------------------------------------------ cgroups

    def _path(self, number: int) -> str | None:
        """Of a cgroup, below the tree's top; None where it is not known, or is the top (no unit)."""
        if number <= 1 or not self._cgroups:
            return None
        if number not in self._paths and not self._walked:
            self._walked = True
            self._paths = {inode: path for path, inode in _tree(self._cgroups)}
        return self._paths.get(number) or None

    def _processes_in(self, path: str, user: int) -> Iterator[_Process]:
        unit = unit_of(path)
        for pid in self._members(path):
            if self._user(pid) == user and (name := self._name(pid)):
                yield _Process(pid, name, unit)

    def _members(self, path: str) -> list[int]:
        text = _read(f"{self._cgroups}{path}/cgroup.procs")
        return [int(word) for word in text.split()[:_PROCESSES_MAX] if word != "0"]

    # ------------------------------------------------------------ processes

    def _process(self, pid: int) -> _Process:
        place = self._places.get(pid)
        if place is not None:
            return _Process(pid, self._name(pid), unit_of(place))
        lines = _read(f"{self._proc}/{pid}/cgroup").splitlines()
        parts = (line.split(":", 2) for line in lines if line.count(":") >= 2)
        paths = {controllers: path for _, controllers, path in parts}
        # With version 1, or both at once, systemd keeps units in a tree of its own.
        unit = unit_of(paths.get("", "")) or unit_of(paths.get("name=systemd", ""))
        return _Process(pid, self._name(pid), unit)

    def _user(self, pid: int) -> int | None:
        try:
            return os.stat(f"{self._proc}/{pid}").st_uid
        except OSError:
            told = self._taskstats.of(pid) if self._hidden else None
            return None if told is None else told[0]

    def _name(self, pid: int) -> str:
        name = _read(f"{self._proc}/{pid}/comm").removesuffix("\n")
        if not name and self._hidden and (told := self._taskstats.of(pid)) is not None:
            name = told[1]
        return _shown(name)

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


def _told(user: int, path: str | None, found: Sequence[_Process]) -> Who:
    unit = _common(found, 2) if path is None else unit_of(path)
    return Who(user, _common(found, 1), unit, found[0].pid if len(found) == 1 else None)


def _common(found: Sequence[_Process], field: int) -> str:
    """What all of them are; empty when they differ."""
    texts = {str(process[field]) for process in found}
    return texts.pop() if len(texts) == 1 else ""


def _shown(text: str, size: int = _NAME_MAX) -> str:
    """A process may call itself anything."""
    return "".join([letter if letter.isprintable() else "?" for letter in text[:size]])


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
    """The first `_READ` bytes, by whole lines; empty where it cannot be read."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            told = b""
            while len(told) < _READ and (part := os.read(number, _READ - len(told))):
                told += part  # the kernel gives a page at a time: 600 of a cgroup's processes
            return (told if len(told) < _READ else told[: told.rfind(b"\n") + 1]).decode(errors="replace")
        finally:
            os.close(number)
    except OSError:
        return ""
