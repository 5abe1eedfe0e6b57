"""What an install or an uninstall is made of: typed steps that say what they do.

Pure. Knows nothing of when which step is right (`plan`, `unplan`) and does nothing itself (`perform`).
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal

from dynallow.setup.things import Absent, Directory, File, Link, Thing

Part = Literal["service", "resolver"]
"""What a path belongs to: dynallow itself, or the host's way of finding a resolver."""


@dataclass(frozen=True, slots=True)
class Place:
    """Have `thing` stand at `path`; `before`, which stands there now, goes into the record."""

    path: str
    thing: Thing
    before: Thing
    part: Part = "service"

    def __str__(self) -> str:
        match self.thing, self.before:
            case Directory(mode=mode), _:
                return f"make   {self.path}/ ({mode:04o})"
            case Link(target=target), Absent():
                return f"link   {self.path} → {target}"
            case Link(target=target), _:
                return f"link   {self.path} → {target}, in place of {kind(self.before)}"
            case Absent(), _:
                return f"remove {self.path}"
            case File(content=content), Absent():
                return f"write  {self.path} ({len(content):,} bytes)"
            case _:
                return f"write  {self.path}, in place of {kind(self.before)}, which is kept"


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Have what stood at `path` before the install stand there again."""

    path: str
    thing: Thing

    def __str__(self) -> str:
        match self.thing:
            case Absent():
                return f"remove {self.path}"
            case _:
                return f"back   {self.path}: {kind(self.thing)}, as it was"


@dataclass(frozen=True, slots=True)
class MakeUser:
    """The agent's user and group, by systemd-sysusers."""

    name: str

    def __str__(self) -> str:
        return f"user   {self.name}, by systemd-sysusers"


@dataclass(frozen=True, slots=True)
class RemoveUser:
    """Take away the user that the install has made, and its group."""

    name: str

    def __str__(self) -> str:
        return f"user   {self.name} and its group are removed"


@dataclass(frozen=True, slots=True)
class Run:
    """Run a program of the host; with `optional` a failure is told and does not end the work."""

    argv: tuple[str, ...]
    why: str = ""
    optional: bool = False

    def __str__(self) -> str:
        return f"run    {shlex.join(self.argv)}" + (f"    # {self.why}" if self.why else "")


@dataclass(frozen=True, slots=True)
class KeepSessions:
    """Have the kernel know who is connected to this host, before its packets are judged."""

    def __str__(self) -> str:
        return "keep   open TCP connections to this host (SSH), whoever speaks first on them from now on"


@dataclass(frozen=True, slots=True)
class Ask:
    """Go on only if the agent answers: of itself, and through an upstream where the upstream answers."""

    upstreams: tuple[str, ...]

    def __str__(self) -> str:
        return "ask    dynallow at 127.0.0.1: it must answer before the host depends on it"


@dataclass(frozen=True, slots=True)
class RemoveTree:
    """What the agent has written into a directory of its own."""

    path: str

    def __str__(self) -> str:
        return f"remove {self.path}/ and what the agent has kept there"


@dataclass(frozen=True, slots=True)
class Forget:
    """The record: there is nothing left to undo."""

    def __str__(self) -> str:
        return "forget the record of the install"


Step = Place | GiveBack | MakeUser | RemoveUser | Run | KeepSessions | Ask | RemoveTree | Forget


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in their order, and what is left alone with the reason."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()


def kind(thing: Thing) -> str:
    """What it is, in a few words."""
    match thing:
        case File(content=content):
            return f"a file of {len(content):,} bytes"
        case Link(target=target):
            return f"a link to {target}"
        case Directory():
            return "a directory"
        case _:
            return "nothing"
