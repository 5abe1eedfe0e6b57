"""How a rule's leases look: a row each, at any width.

Pure. Knows leases and the screen's measures. Keeps: no row is wider than the screen; what does not fit is
left out by its importance: packets, bytes, then the bar; where address, name and time do not fit beside one
another the name has a line of its own; a list that is too long is cut in its middle, and says so. Of 100,000
leases only those that are shown are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from dynallow.cli.leases import Leases, by_columns
from dynallow.cli.output import Block, Columns, Line, Spans, Style, escape
from dynallow.cli.phrases import size_text
from dynallow.cli.screen import Screen, bar, fitting, shortened
from dynallow.durations import format_duration

if TYPE_CHECKING:
    from dynallow.control.schema import LeaseReport

SHOWN = 20
"""Leases of a rule that a terminal shows, unless it is told to show all."""
_BAR = 10
_SOON_S = 60.0
_GAP = "  "


class _Column(NamedTuple):
    heading: str
    cells: list[str]
    right: bool = False
    bar: bool = False

    @property
    def width(self) -> int:
        return _BAR if self.bar else max(map(len, [self.heading, *self.cells]))

    def placed(self, text: str) -> str:
        return text.rjust(self.width) if self.right else text.ljust(self.width)


def lease_table(leases: Leases) -> Columns:
    """All of them, for a pipe."""
    columns = (
        leases.addresses,
        leases.names,
        _each(list(map(int, leases.expires_in_s)), format_duration),
        _each(leases.packets, str),
        _each(leases.octets, size_text),
    )
    headings = ("address", "name", "time left", "packets", "bytes")
    return Columns(headings, columns, frozenset((2, 3, 4)), leases.order)


def lease_rows(leases: Sequence[LeaseReport], screen: Screen, shown: int | None) -> list[Block]:
    """The first and the last of them for a terminal; they come the longest first."""
    if screen.width is None or not leases:
        return [lease_table(by_columns(leases))] if leases else []
    head, tail, gap = _cut(leases, shown)
    heading, rows = _drawn([*head, *tail], leases[0]["expires_in_s"], screen, screen.width)
    before, after = rows[: len(head)], rows[len(head) :]
    if gap:
        before.append([Line(fitting([f"{_GAP}{screen.ellipsis} {text}" for text in gap], screen), "dim")])
    return [*heading, *(block for row in (*before, *after) for block in row)]


def _cut(
    leases: Sequence[LeaseReport], shown: int | None
) -> tuple[Sequence[LeaseReport], Sequence[LeaseReport], list[str]]:
    # To say that one is left out takes as much room as that one.
    if shown is None or len(leases) <= shown + 1:
        return leases, (), []
    last = shown // 3
    head, tail = leases[: shown - last], leases[len(leases) - last :]
    first, end = leases[len(head)], leases[len(leases) - last - 1]
    times = dict.fromkeys(format_duration(lease["expires_in_s"]) for lease in (first, end))
    more = f"{len(leases) - shown:,} more"
    return head, tail, [f"{more}, {' to '.join(times)} left (--all shows them)", f"{more} (--all)"]


def _drawn(
    leases: list[LeaseReport], longest_s: float, screen: Screen, width: int
) -> tuple[list[Block], list[list[Block]]]:
    """The headings, and each lease's lines."""
    names = [escape(lease["name"]) for lease in leases]
    lefts = [format_duration(int(lease["expires_in_s"])) for lease in leases]
    shares = [lease["expires_in_s"] / max(longest_s, 1.0) for lease in leases]
    address = _Column("address", [lease["address"] for lease in leases])
    name, left = _Column("name", names), _Column("time left", lefts, right=True)
    bars = _Column("", [bar(share, _BAR, screen) for share in shares], bar=True)
    packets = _Column("packets", [str(lease["packets"]) for lease in leases], right=True)
    octets = _Column("bytes", [size_text(lease["bytes"]) for lease in leases], right=True)
    soon = [lease["expires_in_s"] < _SOON_S for lease in leases]
    for more in ([bars, packets, octets], [bars, octets], [bars], []):
        columns = [address, name, left, *more]
        if _width(columns) <= width:
            heading = "".join(f"{_GAP}{column.placed(column.heading)}" for column in columns)
            return [Line(heading.rstrip(), "dim")], [[_row(columns, n, late)] for n, late in enumerate(soon)]
    room = width - len(_GAP)
    for more in ([bars, packets, octets], [bars, octets], [bars], []):
        if _width([address, *more]) <= room:
            break
    below = [
        address._replace(cells=[shortened(each, room - len(_GAP), screen) for each in address.cells]),
        *more,
    ]
    rows: list[list[Block]] = []
    for number, late in enumerate(soon):
        line = _row(below, number, late)
        rows.append([Spans(((_GAP, ""), *line.pieces))])
        told = names[number], lefts[number]
        if not number or told != (names[number - 1], lefts[number - 1]):
            space = room - 1 - len(lefts[number])
            rows[-1].insert(
                0, Line(f"{_GAP}{shortened(names[number], space, screen):<{space}} {lefts[number]}")
            )
    return [], rows


def _width(columns: list[_Column]) -> int:
    return sum(len(_GAP) + column.width for column in columns)


def _row(columns: list[_Column], number: int, late: bool) -> Spans:
    pieces: list[tuple[str, Style]] = []
    for column in columns:
        style: Style = ("warn" if late else "good") if column.bar else ""
        pieces += [(_GAP, ""), (column.placed(column.cells[number]), style)]
    text, style = pieces[-1]
    return Spans((*pieces[:-1], (text.rstrip(), style)))


def _each(numbers: list[int], text: Callable[[int], str]) -> list[str]:
    """The text of each number, made once for those that are equal: of 100,000 leases most are."""
    texts = {number: text(number) for number in set(numbers)}
    return [texts[number] for number in numbers]
