"""Where a rule or destination stands, and a key of it, as "file:line"; read from the files when asked.

Knows TOML just well enough to find a table by its name. As in `locate.py`, the files may have changed
since they were loaded: the answer is a hint for people, never an input.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

Kind = Literal["rule", "destination"]
_HEADER = re.compile(r"\s*\[+\s*([A-Za-z0-9_.-]+)\s*\]+\s*(#.*)?")
_NAME = re.compile(r"""\s*name\s*=\s*["']([^"']*)["']\s*(#.*)?""")


def place(files: Iterable[Path], kind: Kind, name: str, key: str = "") -> str | None:
    """ "file:line" of the key in the rule or destination of this name, else of its first line; None: gone."""
    for file in files:
        try:
            for first, lines in _tables(file, kind):
                if any((named := _NAME.fullmatch(line)) and named[1] == name for _, line in lines):
                    spelled = re.compile(rf"\s*{re.escape(key)}\s*=") if key else None
                    found = (number for number, line in lines if spelled and spelled.match(line))
                    return f"{file}:{next(found, first)}"
        except OSError:
            continue
    return None


def _tables(file: Path, kind: Kind) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    """Each table of the kind: where its header stands, and its lines with their numbers."""
    first, lines, inside = 0, list[tuple[int, str]](), False
    with file.open(encoding="utf-8", errors="replace") as text:
        for number, line in enumerate(text, 1):
            if header := _HEADER.fullmatch(line.rstrip()):
                if inside:
                    yield first, lines
                first, lines, inside = number, [], header[1] == kind
            elif inside:
                lines.append((number, line.rstrip()))
    if inside:
        yield first, lines
