"""What happened over time, as bars: SVG for what may be stretched, HTML beside it for what is read.

Pure. Knows points and marks; must not know what they mean. Keeps: labels keep their size however wide the
page is, and a step of which nothing is known is not shown as one in which nothing happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from dynallow.cli.page.markup import Content, Html, joined, tag
from dynallow.cli.page.numbers import DAY_S, count, short

_WIDTH, _HEIGHT = 1000, 100
_LABELS = 6
_NEAR = 0.04


class Series(NamedTuple):
    """Counts of one kind, one a step; `kind` is its class in the style."""

    name: str
    kind: str
    counts: Sequence[int]


class Mark(NamedTuple):
    """A line across, with a number."""

    at: datetime
    number: int
    text: str


class Times(NamedTuple):
    """When each step begins, how long it is, and how many of the first ones nobody remembers."""

    starts: Sequence[datetime]
    step_s: int
    unknown: int

    def place(self, moment: datetime) -> float:
        """Where it is, from 0 to 1."""
        whole = len(self.starts) * self.step_s
        return min(max((moment - self.starts[0]).total_seconds() / whole, 0.0), 1.0)


def chart(title: str, times: Times, series: Sequence[Series], marks: Sequence[Mark]) -> Html:
    """One on top of the other, from zero."""
    sums = [sum(counts) for counts in zip(*(one.counts for one in series), strict=True)]
    top = _round_up(max(sums, default=0))
    legend = [joined((tag("i", class_=one.kind), f"{one.name} {count(sum(one.counts))}")) for one in series]
    plot = tag(
        "div",
        tag(
            "svg",
            _unknown(times),
            *(tag("line", x1=0, x2=_WIDTH, y1=y, y2=y, class_="grid", **_THIN) for y in (0, _HEIGHT / 2)),
            *_bars(times, series, top),
            *_lines(times, marks),
            viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
            preserveAspectRatio="none",
            role="img",
            aria_label=f"{title}: " + ", ".join(f"{one.name} {sum(one.counts)}" for one in series),
        ),
        *(
            tag("span", short(top * part), class_="y", style=f"top:{100 * (1 - part):g}%")
            for part in (1, 0.5, 0)
        ),
        *_moments(times),
        *_numbers(times, marks),
        _void(times),
        class_="plot",
    )
    head = tag("div", tag("b", title), tag("span", *legend, class_="legend"), class_="head")
    return tag("div", head, plot, class_="chart")


_THIN: dict[str, str] = {"vector_effect": "non-scaling-stroke", "stroke_width": "1"}


def _bars(times: Times, series: Sequence[Series], top: int) -> list[Html]:
    steps = len(times.starts)
    wide = _WIDTH / steps
    gap = min(wide * 0.15, 1.5)
    bars = []
    for number, start in enumerate(times.starts):
        parts = [(one, one.counts[number]) for one in series if one.counts[number]]
        if not parts:
            continue
        told = ", ".join(f"{one.name} {count(times_)}" for one, times_ in parts)
        below = 0.0
        rects: list[Content] = [tag("title", f"{start:%Y-%m-%d %H:%M}: {told}")]
        for one, times_ in parts:
            # What happened at all must be seen, beside a hundred times as many of others too.
            high = max(_HEIGHT * times_ / top, 1.0)
            y = max(_HEIGHT - below - high, 0.0)
            rects.append(
                tag(
                    "rect",
                    x=f"{number * wide + gap / 2:.2f}",
                    y=f"{y:.2f}",
                    width=f"{wide - gap:.2f}",
                    height=f"{high:.2f}",
                    class_=one.kind,
                )
            )
            below += high
        bars.append(tag("g", *rects))
    return bars


def _lines(times: Times, marks: Sequence[Mark]) -> list[Html]:
    lines = []
    for mark in marks:
        x = f"{times.place(mark.at) * _WIDTH:.2f}"
        line = tag("line", x1=x, x2=x, y1=0, y2=_HEIGHT, class_="mark", stroke_dasharray="4 3", **_THIN)
        lines.append(line)
    return lines


def _numbers(times: Times, marks: Sequence[Mark]) -> list[Html]:
    """The marks' numbers; those that would lie on one another as one: "2-4"."""
    near: list[list[Mark]] = []
    for mark in marks:
        if near and times.place(mark.at) - times.place(near[-1][0].at) < _NEAR:
            near[-1].append(mark)
        else:
            near.append([mark])
    return [
        tag(
            "span",
            str(group[0].number) if len(group) == 1 else f"{group[0].number}-{group[-1].number}",
            class_="m",
            style=f"left:{100 * times.place(group[0].at):.2f}%",
            title="; ".join(mark.text for mark in group),
        )
        for group in near
    ]


def _unknown(times: Times) -> Html | None:
    if not times.unknown:
        return None
    width = _WIDTH * times.unknown / len(times.starts)
    return tag("rect", x=0, y=0, width=f"{width:.2f}", height=_HEIGHT, class_="unknown")


def _void(times: Times) -> Html | None:
    if times.unknown * 5 < len(times.starts):
        return None
    return tag(
        "span", "no history", class_="void", style=f"width:{100 * times.unknown / len(times.starts):.1f}%"
    )


def _moments(times: Times) -> list[Html]:
    """Labels below the axis, at steps that are spread evenly."""
    steps = len(times.starts)
    places = sorted({round(part * steps / _LABELS) for part in range(_LABELS)} - {steps})
    form = (
        "%H:%M"
        if steps * times.step_s <= DAY_S
        else "%m-%d %H:%M"
        if steps * times.step_s < 4 * DAY_S
        else "%m-%d"
    )
    labels = []
    for number, place in enumerate(places):
        kinds = "x" + (" first" if not number else " some" if number % 2 else "")
        left = f"left:{100 * place / steps:.2f}%"
        labels.append(tag("span", f"{times.starts[place]:{form}}", class_=kinds, style=left))
    return labels


def _round_up(number: int) -> int:
    """The next 1, 2 or 5 times a power of ten, 2 at least."""
    size = 1
    while True:
        for digit in (1, 2, 5):
            if digit * size >= max(number, 2):
                return digit * size
        size *= 10
