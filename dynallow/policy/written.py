"""The patterns that an index lists for some rules, written out again.

Pure. Keeps: an index made of what is written matches what this one matches; `.x.example` reads back as
`x.example` and `*.x.example` (see `tracing.py`), each pattern once however many lists named it.
"""

from __future__ import annotations

from collections.abc import Iterator

from dynallow.policy.index import Index, Table
from dynallow.policy.names import ROOT, labels
from dynallow.policy.patterns import Pattern


def written(listed: Index, rules: frozenset[int]) -> Iterator[tuple[int, str]]:
    """A rule's number and a pattern that it lists; nothing for rules that are not in `rules`.

    A long run of one rule's stays together where a list gave it.
    """
    for apex, table in ((True, listed.exact), (False, listed.deep)):
        for name, listing in _entries(table):
            for rule in listing:
                if rule in rules:
                    yield rule, str(Pattern(labels(name), apex=apex, below=not apex))


def _entries(table: Table) -> Iterator[tuple[bytes, tuple[int, ...]]]:
    """A masked key holds the wildcards themselves, and no root: with one it reads as the pattern does."""
    yield from table.literal.items()
    for shapes in table.shaped.values():
        for entries in shapes.values():
            for key, rules in entries.items():
                yield key + ROOT, rules
