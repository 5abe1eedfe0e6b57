"""Settings that are in force, written down so that they can come back when the files say otherwise.

    a line of JSON    the files' paths and texts, as they were read
    further lines     NUMBER PATTERN: what the list files gave to the rule of that number

Knows this form; must not know where it is kept. Keeps: what is read allows what the written ones
allow, whatever has become of settings files and lists since.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from dynallow.policy.written import written
from dynallow.settings.compile import ListLine
from dynallow.settings.load import Loaded, build

_CHUNK = 1 << 20


def write(loaded: Loaded) -> Iterator[bytes]:
    """Its lines."""
    texts = [[str(file), text] for file, text in zip(loaded.files, loaded.texts, strict=True)]
    yield json.dumps(texts).encode("ascii") + b"\n"
    listing = frozenset(number for number, source in enumerate(loaded.sources) if source.rule.names_from)
    if listing:
        for number, pattern in written(loaded.policy.listed, listing):
            yield f"{number} {pattern}\n".encode("ascii")


def read(lines: Iterator[bytes]) -> Loaded:
    """What they tell. Raises ValueError for what `write` has not written, SettingsError where it is not
    valid any more (a user who has gone, a newer dynallow).
    """
    try:
        texts = [(Path(file), str(text)) for file, text in json.loads(next(lines))]
    except (StopIteration, TypeError, RecursionError) as error:
        raise ValueError(f"no settings: {error}") from error
    return build(texts, [], map(_list_line, lines))


def _list_line(line: bytes) -> ListLine:
    number, _, pattern = line.partition(b" ")
    return int(number), pattern


def mark_of(loaded: Loaded) -> str:
    """A sign of what the files say: their texts as they were read, the lists as they stand on disk now."""
    digest = hashlib.sha256()
    for file, text in zip(loaded.files, loaded.texts, strict=True):
        read = text.encode()
        digest.update(b"%s\0%d\0" % (os.fsencode(file), len(read)) + read)
    for source in loaded.sources:
        for path in source.lists():
            digest.update(_of_file(path))
    return digest.hexdigest()


def _of_file(path: Path) -> bytes:
    digest = hashlib.sha256(os.fsencode(path))
    try:
        with path.open("rb") as file:
            while some := file.read(_CHUNK):
                digest.update(some)
    except OSError:
        return b"-"
    return digest.digest()
