"""JSON in pieces: a status with 100,000 leases must not stop the agent's loop.

Pure. Knows JSON only. Keeps: the joined pieces are what json.dumps would give
(spacing aside), and no piece covers more than BLOCK entries of a long list.
json's C encoder takes about 3 µs a lease and holds the interpreter all the
while, in a thread too, so it gets little at a time; its own iterencode is 20
times slower. What is long is `Encoded` where it is made, in a thread: the loop
then has only to send it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

BLOCK = 64
_DEPTH = 4  # report, rules, rule, leases: long lists lie no deeper


class Encoded:
    """A list that is JSON text already, in pieces; its entries are gone."""

    def __init__(self, entries: Iterable[object]) -> None:
        self.pieces: list[str] = []
        left = iter(entries)
        while block := list(islice(left, BLOCK)):
            self.pieces.append(("," if self.pieces else "[") + json.dumps(block)[1:-1])
        self.pieces.append("]" if self.pieces else "[]")


def pieces(value: object, depth: int = _DEPTH) -> Iterator[str]:
    """The JSON text of `value`, piece by piece."""
    if isinstance(value, Encoded):
        yield from value.pieces
    elif depth and isinstance(value, dict):
        yield from _object_pieces(value, depth - 1)
    elif depth and isinstance(value, list) and value:
        yield from _array_pieces(value, depth - 1)
    else:
        yield json.dumps(value)


def _object_pieces(value: dict[str, Any], depth: int) -> Iterator[str]:
    lead = "{"
    for key, inner in value.items():
        yield f"{lead}{json.dumps(key)}:"
        yield from pieces(inner, depth)
        lead = ","
    yield "}" if value else "{}"


def _array_pieces(value: list[Any], depth: int) -> Iterator[str]:
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
        isinstance(inner, list | dict | Encoded) for inner in entry.values()
    )
