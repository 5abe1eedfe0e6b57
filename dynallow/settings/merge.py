"""Several TOML documents as one: tables merge, arrays of tables append, for the rest the later file wins.

Knows which keys are arrays of tables; nothing else of their meaning.
Keeps: for each thing in the result, the file that it came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]
Path = tuple[str | int, ...]

_APPENDED: frozenset[Path] = frozenset({("rule",), ("destination",), ("resolver", "zone")})


@dataclass(slots=True)
class Merged:
    """The one document, and where its parts came from: (file, path in that file) by path here."""

    data: Document = field(default_factory=dict)
    origins: dict[Path, tuple[str, Path]] = field(default_factory=dict)

    def origin(self, path: Sequence[str | int], default: str) -> tuple[str, Path]:
        """The file of what stands at `path`, and its path there; `default` for what no file sets."""
        whole = tuple(path)
        for end in range(len(whole), 0, -1):
            if found := self.origins.get(whole[:end]):
                return found[0], found[1] + whole[end:]
        return default, whole


def merge(documents: Iterable[tuple[str, Document]]) -> Merged:
    """The documents in order, each with its file's name."""
    merged = Merged()
    for file, document in documents:
        _merge_table(merged, merged.data, document, (), file)
    return merged


def _merge_table(merged: Merged, into: Document, table: Document, at: Path, file: str) -> None:
    for key, value in table.items():
        path = (*at, key)
        held = into.get(key)
        if path in _APPENDED and isinstance(value, list):
            start = len(held) if isinstance(held, list) else 0
            for index in range(len(value)):
                merged.origins[(*path, start + index)] = (file, (*path, index))
            into[key] = (held if isinstance(held, list) else []) + value
        elif isinstance(value, dict):
            target = held if isinstance(held, dict) else {}
            into[key] = target
            _merge_table(merged, target, value, path, file)
        else:
            into[key] = value
            merged.origins[path] = (file, path)
