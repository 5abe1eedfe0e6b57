"""JSON in pieces: a status with 100,000 leases must stop neither the agent's loop nor fill its memory.

Pure. Knows JSON only. Keeps: the joined pieces are what json.dumps would give
(spacing aside), no piece covers more than BLOCK entries of a long list, and a
list that is `Listed` is read no further than the pieces that were taken.
json's C encoder takes about 3 µs a lease and holds the interpreter all the
while, in a thread too, so it gets little at a time; its own iterencode is 20
times slower.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from typing import Any

BLOCK = 64
_DEPTH = 4  # report, rules, rule, leases: long lists lie no deeper


class Listed:
    """A list that is read while it is sent: parts of it, each with the JSON text of its entries. Once.

    Who stops half-way closes `pieces`: what is read from is let go of then, and not
    when the garbage of a connection that broke off is collected.
    """

    def __init__(self, parts: Iterable[list[str]]) -> None:
        self._parts = parts

    def pieces(self) -> Generator[str, None, None]:
        """The list's JSON text."""
        lead = "["
        parts, self._parts = self._parts, ()  # held here alone
        for part in parts:
            if part:
                yield lead + ", ".join(part)
                lead = ", "
        yield "]" if lead == ", " else "[]"


def pieces(value: object, depth: int = _DEPTH) -> Generator[str, None, None]:
    """The JSON text of `value`, piece by piece."""
    if isinstance(value, Listed):
        yield from value.pieces()
    elif depth and isinstance(value, dict):
        yield from _object_pieces(value, depth - 1)
    elif depth and isinstance(value, list) and value:
        yield from _array_pieces(value, depth - 1)
    else:
        yield json.dumps(value)


def _object_pieces(value: dict[str, Any], depth: int) -> Generator[str, None, None]:
    lead = "{"
    for key, inner in value.items():
        yield f"{lead}{json.dumps(key)}:"
        yield from pieces(inner, depth)
        lead = ","
    yield "}" if value else "{}"


def _array_pieces(value: list[Any], depth: int) -> Generator[str, None, None]:
    lead = "["
    for start in range(0, len(value), BLOCK):
        block = value[start : start + BLOCK]
        if depth and any(_is_deep(entry) for entry in block):
            for entry in block:
                yield lead
                yield from pieces(entry, depth)
                lead = ","
        else:
            yield lead + json.dumps(block)[1:-1]
            lead = ","
    yield "]"


def _is_deep(entry: object) -> bool:
    return isinstance(entry, dict) and any(
        isinstance(inner, list | dict | Listed) for inner in entry.values()
    )
