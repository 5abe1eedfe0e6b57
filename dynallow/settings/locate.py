"""Where a pattern stands, as "file:line"; read from the files when asked, kept nowhere.

Knows list files, and TOML just well enough to find a text in a `[[rule]]` block.
The files may have changed since they were loaded: the answer is a hint for people, never an input.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dynallow.policy.patterns import parse_pattern
from dynallow.policy.rules import Rule
from dynallow.settings.compile import RuleSource
from dynallow.settings.load import Loaded

_HEADER = re.compile(r"\s*\[+\s*([A-Za-z0-9_.-]+)\s*\]+\s*(#.*)?")
_STRING = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'([^']*)'")


def locate(loaded: Loaded, rule: Rule, pattern_text: str) -> str | None:
    """ "file:line" of the pattern in the rule's names or lists; None when it is not found any more."""
    for source in loaded.sources:
        if source.rule.name == rule.name:
            for wanted in _spellings(pattern_text):
                if place := _in_rule(source, wanted):
                    return place
    return None


def _spellings(text: str) -> tuple[str, ...]:
    """`.x` may have been written as `x` and `*.x` apart (see policy.tracing)."""
    return (text, f"*{text}", text[1:]) if text.startswith(".") else (text,)


def _in_rule(source: RuleSource, wanted: str) -> str | None:
    try:
        for number, line in _block(source):
            if any(_same(first or second, wanted) for first, second in _STRING.findall(line)):
                return f"{source.file}:{number}"
        for path in source.lists():
            if found := _line_of(path, wanted):
                return f"{path}:{found}"
    except OSError:
        pass
    return None


def _block(source: RuleSource) -> Iterator[tuple[int, str]]:
    """The numbered lines of the file's `[[rule]]` block that `source` was read from."""
    current = -1
    inside = False
    with source.file.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if header := _HEADER.fullmatch(line.rstrip()):
                inside = header[1] == "rule"
                current += inside
            elif inside and current == source.index:
                yield number, line.partition("#")[0]


def _line_of(path: Path, wanted: str) -> int | None:
    key = wanted.encode()
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            text = line.rstrip()
            if text == key:
                return number
            # Plain lines are compared as bytes alone: a list may hold a million of them.
            plain = text.islower() and text.isascii() and b"#" not in text and not text[:1].isspace()
            if not plain and _same(text.decode(errors="replace").partition("#")[0], wanted):
                return number
    return None


def _same(text: str, wanted: str) -> bool:
    try:
        return bool(text.strip()) and str(parse_pattern(text)) == wanted
    except ValueError:
        return False
