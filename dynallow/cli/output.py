"""What a verb prints, as values; and their way to the terminal.

Knows lines and tables. Must not know what they say. Keeps: every text passes
`escape` on its way out, so that a name from the network can neither move the
cursor nor pass for another; a pipe gets plain, unwrapped, uncoloured columns;
rich is loaded for a terminal only (it takes half of `status`'s time).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Style = Literal["", "bold", "good", "warn", "bad", "dim"]
_RICH = {"": "", "bold": "bold", "good": "green", "warn": "yellow", "bad": "bold red", "dim": "dim"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text."""

    text: str = ""
    style: Style = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns with headings; `right` holds the numbers of those that are right-aligned."""

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    right: frozenset[int] = field(default_factory=frozenset)


Block = Line | Table


def escape(text: str) -> str:
    """The text with everything that does not print made visible: controls, bidi marks, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def print_json(value: object) -> None:
    """A result as JSON (ASCII, so that names cannot do anything to a terminal)."""
    json.dump(value, sys.stdout, indent=2)
    print()


def note(text: str) -> None:
    """Something beside the result, to stderr."""
    print(f"dynallow: {escape(text)}", file=sys.stderr)


def show(blocks: Iterable[Block]) -> None:
    """Print blocks to stdout, for a person or for a pipe."""
    if sys.stdout.isatty():
        console = make_console()
        for block in blocks:
            console.print(_rich(block))
    else:
        for line in plain(blocks):
            print(line)


def plain(blocks: Iterable[Block]) -> Iterator[str]:
    """The blocks as lines of plain text."""
    for block in blocks:
        if isinstance(block, Line):
            yield escape(block.text)
        else:
            yield from _columns(block)


def _columns(table: Table) -> Iterator[str]:
    cells = [[escape(cell) for cell in row] for row in (table.headings, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (
            cell.rjust(width) if number in table.right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield f"  {'  '.join(padded)}".rstrip()


def make_console() -> Console:
    """rich's console on stdout; NO_COLOR takes bold and dim away as well."""
    from rich.console import Console

    colour = None if os.environ.get("NO_COLOR") else "auto"
    return Console(highlight=False, markup=False, emoji=False, color_system=colour)  # type: ignore[arg-type]


def rich_group(blocks: Iterable[Block]) -> RenderableType:
    """The blocks as one thing to draw, for a live view."""
    from rich.console import Group

    return Group(*map(_rich, blocks))


def _rich(block: Block) -> RenderableType:
    from rich.text import Text

    if isinstance(block, Line):
        return Text(escape(block.text), style=_RICH[block.style], overflow="fold")
    from rich.table import Table as RichTable

    table = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, heading in enumerate(block.headings):
        # "fold": a name or address that is cut off at the edge is of no use to anybody.
        table.add_column(
            escape(heading), justify="right" if number in block.right else "left", overflow="fold"
        )
    for row in block.rows:
        table.add_row(*(Text(escape(cell)) for cell in row))
    return table
