"""What a verb prints, as values; and their way to the terminal.

Knows lines and tables. Must not know what they say. Keeps: every text passes
`escape` on its way out, so that a name from the network can neither move the
cursor nor pass for another; a pipe gets plain, unwrapped, uncoloured columns.
Columns are made here, whole columns at a time: rich takes 50 ms to load and
0.7 ms a row, a minute for 100,000 leases. It draws the live view alone.
"""

from __future__ import annotations

import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Style = Literal["", "bold", "good", "warn", "bad", "dim"]
_RICH = {"": "", "bold": "bold", "good": "green", "warn": "yellow", "bad": "bold red", "dim": "dim"}
_SGR = {"bold": "1", "good": "32", "warn": "33", "bad": "1;31", "dim": "2"}
_TOGETHER = 1000  # lines a write: one line a write is a system call a line on a terminal
_WRITE = 64 * 1024


class Line(NamedTuple):
    """One line of text."""

    text: str = ""
    style: Style = ""


class Table(NamedTuple):
    """Columns with headings; `right` holds the numbers of those that are right-aligned."""

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    right: frozenset[int] = frozenset()


class Columns(NamedTuple):
    """The same by columns, and in which order its rows are printed.

    Of 100,000 rows no row is made before its line is, and no text is looked at out of the order in which it
    lies in memory but a whole line: that costs twice as much.
    """

    headings: tuple[str, ...]
    columns: Sequence[Sequence[str]]
    right: frozenset[int]
    order: Sequence[int]


class Spans(NamedTuple):
    """One line of pieces, each with a style of its own."""

    pieces: tuple[tuple[str, Style], ...]


class JsonTexts(ABC):
    """A list, not an empty one, that knows the JSON text of each of its entries."""

    __slots__ = ()

    @abstractmethod
    def json_texts(self) -> Iterator[str]:
        """One after the other, without a line's end in it."""


Block = Line | Table | Columns | Spans


def escape(text: str) -> str:
    """The text with everything that does not print made visible: controls, bidi marks, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def print_json(value: object) -> None:
    """A result as JSON (ASCII, so that names cannot do anything to a terminal)."""
    some, size = [], 0
    for piece in _json(value, ""):
        some.append(piece)
        size += len(piece)
        if size > _WRITE:
            sys.stdout.write("".join(some))
            some, size = [], 0
    print("".join(some))


def _json(value: object, margin: str) -> Iterator[str]:
    """Indented down to what holds nothing else: a lease is a line.

    json's own `indent` runs in Python, 20 times slower, and makes a lease seven lines.
    """
    if isinstance(value, JsonTexts):
        yield from _lines(value.json_texts(), margin)
        return
    if isinstance(value, dict) and any(map(_is_deep, value.values())):
        entries, brackets = [(f"{json.dumps(key)}: ", inner) for key, inner in value.items()], "{}"
    elif isinstance(value, list) and _is_flat(value):
        yield from _flat(value, margin)
        return
    elif isinstance(value, list) and any(map(_is_container, value)):
        entries, brackets = [("", inner) for inner in value], "[]"
    else:
        yield json.dumps(value)
        return
    lead = f"{brackets[0]}\n  {margin}"
    for key, inner in entries:
        yield lead + key
        yield from _json(inner, f"{margin}  ")
        lead = f",\n  {margin}"
    yield f"\n{margin}{brackets[1]}"


def _flat(objects: list[dict[str, object]], margin: str) -> Iterator[str]:
    """A line each, a thousand encoded together: one at a time costs four times as much.

    What stands between two of them stands in no text: there a line's end is an escape.
    """
    lead = f"[\n  {margin}"
    for start in range(0, len(objects), _TOGETHER):
        text = json.dumps(objects[start : start + _TOGETHER], separators=(",\r", ": "))[1:-1]
        yield lead + text.replace("},\r{", f"}},\n  {margin}{{").replace(",\r", ", ")
        lead = f",\n  {margin}"
    yield f"\n{margin}]"


def _lines(texts: Iterator[str], margin: str) -> Iterator[str]:
    """A line each."""
    lead, between = f"[\n  {margin}", f",\n  {margin}"
    while some := list(islice(texts, _TOGETHER)):
        yield lead + between.join(some)
        lead = between
    yield f"\n{margin}]"


def _is_flat(values: list[object]) -> bool:
    """Objects that hold no others, nor lists."""
    if not values or set(map(type, values)) != {dict}:
        return False
    inner = chain.from_iterable(map(dict.values, cast(list[dict[str, object]], values)))
    return not any(issubclass(kind, dict | list | JsonTexts) for kind in set(map(type, inner)))


def _is_container(value: object) -> bool:
    return isinstance(value, dict | list)


def _is_deep(value: object) -> bool:
    return isinstance(value, dict | JsonTexts) or (isinstance(value, list) and any(map(_is_container, value)))


def note(text: str) -> None:
    """Something beside the result, to stderr."""
    print(f"dynallow: {escape(text)}", file=sys.stderr)


def show(blocks: Iterable[Block]) -> None:
    """Print blocks to stdout, for a person or for a pipe."""
    lines = map(_coloured, styled(blocks)) if _has_colour() else plain(blocks)
    while some := list(islice(lines, _TOGETHER)):
        sys.stdout.write("\n".join(some) + "\n")


def plain(blocks: Iterable[Block]) -> Iterator[str]:
    """The blocks as lines of plain text."""
    for block in blocks:
        if isinstance(block, Line):
            yield escape(block.text)
        elif isinstance(block, Spans):
            yield "".join(escape(text) for text, _ in block.pieces).rstrip()
        else:
            yield from _aligned(block)


def styled(blocks: Iterable[Block]) -> Iterator[Line | Spans]:
    """The blocks as lines that are safe to print."""
    for block in blocks:
        if isinstance(block, Line):
            yield Line(escape(block.text), block.style)
        elif isinstance(block, Spans):
            yield Spans(tuple((escape(text), style) for text, style in block.pieces))
        else:
            lines = _aligned(block)
            yield Line(next(lines), "dim")
            yield from map(Line, lines)


def _aligned(table: Table | Columns) -> Iterator[str]:
    """The headings and the rows as lines, each of them at one stroke.

    Column by column; zip(*rows) would make an iterator for each row, and take twice as long.
    """
    columns = []
    form = " "
    for number, heading in enumerate(table.headings):
        column = [row[number] for row in table.rows] if isinstance(table, Table) else table.columns[number]
        cells = [heading, *column]
        if not all(map(str.isprintable, cells)):
            cells = list(map(escape, cells))
        form += f" %{'' if number in table.right else '-'}{max(map(len, cells))}s "
        columns.append(cells)
    lines = map(str.rstrip, map(form.__mod__, zip(*columns, strict=True)))
    if isinstance(table, Table):
        return lines
    return chain([next(lines)], map(list(lines).__getitem__, table.order))


def _has_colour() -> bool:
    """NO_COLOR takes bold and dim away as well (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _coloured(line: Line | Spans) -> str:
    if isinstance(line, Spans):
        return "".join(_coloured(Line(*piece)) for piece in line.pieces)
    return f"\x1b[{_SGR[line.style]}m{line.text}\x1b[0m" if line.style else line.text


def make_console() -> Console:
    """rich's console on stdout, for the live view."""
    from rich.console import Console

    colour = None if os.environ.get("NO_COLOR") else "auto"
    return Console(highlight=False, markup=False, emoji=False, color_system=colour)  # type: ignore[arg-type]


def rich_group(blocks: Iterable[Block], height: int) -> RenderableType:
    """The first `height` lines as one thing to draw; more would not be seen, and drawing is slow."""
    from rich.console import Group
    from rich.text import Text

    def text(line: Line | Spans) -> Text:
        if isinstance(line, Line):
            return Text(line.text, style=_RICH[line.style], overflow="fold")
        return Text.assemble(*((piece, _RICH[style]) for piece, style in line.pieces), overflow="fold")

    return Group(*map(text, islice(styled(blocks), height)))
