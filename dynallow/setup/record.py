"""What an install has done, on disk before each step is taken; what uninstall and a second try go by.

Knows one file. Lies in a directory of root's own and not in the agent's: what stands here is put back by
root, and a taken-over agent must have no say in it. Keeps: of every path that the install may have
changed, what stood there before; so whatever moment a crash comes at, what stands now is known for
the old thing, one of ours, or somebody's edit.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass, field
from typing import Any, Literal

from dynallow.errors import SetupError
from dynallow.setup.steps import Part, Place
from dynallow.setup.things import Absent, Directory, File, Link, Root, Thing, put, spare_of, sync

DIRECTORY = "/var/lib/dynallow-install"
FILE = f"{DIRECTORY}/record.json"
_FORMAT = 1
_PLAIN = ("program", "version", "ruler", "made_user", "made_state", "complete")


@dataclass(slots=True)
class Entry:
    """One path: what stood there, what of ours may stand there now, and whether a step was cut short."""

    before: Thing
    ours: tuple[Thing, ...]
    part: Part
    begun: bool = False

    def judge(self, present: Thing) -> Literal["ours", "before", "edited"]:
        """What stands there now. A file that is gone was nobody's edit: what stood there may come back."""
        if present == self.before:
            return "before"
        if present in self.ours or isinstance(present, Absent) or (self.begun and self._is_torn(present)):
            return "ours"
        return "edited"

    def _is_torn(self, present: Thing) -> bool:
        """Half of a write to a mount point."""
        whole = [thing.content for thing in (self.before, *self.ours) if isinstance(thing, File)]
        return isinstance(present, File) and any(each.startswith(present.content) for each in whole)


@dataclass(slots=True)
class Record:
    """All of it; `exists` is False until the first step, `complete` from the last one of an install on."""

    program: str = ""
    version: str = ""
    ruler: str = ""
    made_user: bool = False
    made_state: bool = False
    complete: bool = False
    entries: dict[str, Entry] = field(default_factory=dict)
    exists: bool = False

    def begin(self, step: Place) -> None:
        """Before `step`: from now on the path may hold either."""
        held = self.entries.get(step.path)
        if held is None or held.judge(step.before) == "edited":
            self.entries[step.path] = Entry(step.before, (step.thing,), step.part, True)
            return
        held.ours = (*(thing for thing in held.ours if thing != step.thing), step.thing)
        held.begun = True

    def done(self, step: Place) -> None:
        """After `step`."""
        self.entries[step.path].ours = (step.thing,)
        self.entries[step.path].begun = False


def load(root: Root) -> Record:
    """The record under `root`; an empty one where there is none. Raises SetupError for one that is none."""
    try:
        raw = root.at(FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Record()
    try:
        data = json.loads(raw)
        if data["format"] != _FORMAT:
            raise ValueError(f"format {data['format']}")
        entries = {path: _entry_of(entry) for path, entry in data["entries"].items()}
        return Record(**{key: data[key] for key in _PLAIN}, entries=entries, exists=True)
    except (ValueError, KeyError, TypeError) as error:
        raise SetupError(
            f"{FILE}: expected the record of an install, got: {error}",
            "the dynallow that has installed can read it; nothing was changed",
        ) from error


def make_directory(root: Root) -> None:
    """The record's place. Raises SetupError."""
    directory = root.at(DIRECTORY)
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"{directory}: {error.strerror}", "the record of what is done must have a place"
        ) from error


def save(root: Root, record: Record) -> None:
    """Have it on the disk."""
    make_directory(root)
    data = {
        "format": _FORMAT,
        **{key: getattr(record, key) for key in _PLAIN},
        "entries": {path: _entry_data(entry) for path, entry in record.entries.items()},
    }
    put(root.at(FILE), File(json.dumps(data, indent=1).encode(), 0o600, os.geteuid(), os.getegid()))
    record.exists = True


def forget(root: Root) -> None:
    """Take it away, with what a crash may have left beside the paths that it names. The file goes last."""
    record = load(root)
    for path in record.entries:
        spare_of(root.at(path)).unlink(missing_ok=True)
    file = root.at(FILE)
    spare_of(file).unlink(missing_ok=True)
    file.unlink(missing_ok=True)
    try:
        file.parent.rmdir()
    except FileNotFoundError:
        return
    sync(file.parent.parent)


def _entry_of(data: dict[str, Any]) -> Entry:
    ours = tuple(map(_thing_of, data["ours"]))
    return Entry(_thing_of(data["before"]), ours, data["part"], data["begun"])


def _entry_data(entry: Entry) -> dict[str, Any]:
    ours = [_thing_data(thing) for thing in entry.ours]
    return {"before": _thing_data(entry.before), "ours": ours, "part": entry.part, "begun": entry.begun}


def _thing_of(data: dict[str, Any]) -> Thing:
    match data["kind"]:
        case "absent":
            return Absent()
        case "link":
            return Link(data["target"], data["uid"], data["gid"])
        case "directory":
            return Directory(data["mode"], data["uid"], data["gid"])
        case _:
            content = base64.b64decode(data["content"])
            return File(content, data["mode"], data["uid"], data["gid"], data["mtime_ns"])


def _thing_data(thing: Thing) -> dict[str, Any]:
    match thing:
        case Absent():
            return {"kind": "absent"}
        case Link():
            return {"kind": "link", "target": thing.target, "uid": thing.uid, "gid": thing.gid}
        case Directory():
            return {"kind": "directory", "mode": thing.mode, "uid": thing.uid, "gid": thing.gid}
        case File():
            return {
                "kind": "file",
                "content": base64.b64encode(thing.content).decode(),
                "mode": thing.mode,
                "uid": thing.uid,
                "gid": thing.gid,
                "mtime_ns": thing.mtime_ns,
            }
