"""What a terminal can show, and text made to fit it: bars, sparklines, wrapped and shortened lines.

Pure but for `on_stdout`. Knows widths and characters; must not know what is shown. Keeps: nothing made here
is wider than it was told to be, and where only ASCII can be shown nothing else is made.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

NARROWEST = 40
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEVELS, _ASCII_LEVELS = "▁▂▃▄▅▆▇█", "_.:-=+*#"
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")


class Screen(NamedTuple):
    """`width` in columns; None for a pipe, which takes lines of any length."""

    width: int | None = None
    height: int | None = None
    unicode: bool = False

    @property
    def ellipsis(self) -> str:
        """For what was left out."""
        return "…" if self.unicode else "..."


PIPE = Screen()


def on_stdout() -> Screen:
    """What stdout is."""
    if not sys.stdout.isatty():
        return PIPE
    import shutil

    size = shutil.get_terminal_size()
    return Screen(max(size.columns, NARROWEST), size.lines, draws(dict(os.environ), sys.stdout.encoding))


def draws(environment: dict[str, str], encoding: str | None) -> bool:
    """Whether more than ASCII can be shown.

    Python takes LANG=C for UTF-8 and sets LC_CTYPE accordingly (PEP 538): that is not the user's word.
    """
    said = environment.get("LC_CTYPE", "")
    if said in _COERCED and environment.get("LANG", "") in ("", "C", "POSIX"):
        said = ""
    told = environment.get("LC_ALL") or said or environment.get("LANG", "")
    spelled = told.lower().replace("-", "")
    return "utf8" in spelled and (encoding or "").lower().replace("-", "") == "utf8"


def bar(share: float, cells: int, screen: Screen) -> str:
    """So much of `cells`, never quite nothing; as wide as its full part."""
    share = min(max(share, 0.0), 1.0)
    if not screen.unicode:
        return "#" * max(round(share * cells), 1)
    eighths = max(round(share * cells * 8), 1)
    return _EIGHTHS[8] * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def sparkline(counts: Sequence[int], cells: int, screen: Screen) -> str:
    """The counts, the last at the right end, together where there are fewer cells; what is not 0 is seen."""
    each = max(-(-len(counts) // cells), 1)
    first = len(counts) % each
    starts = range(first, len(counts), each)
    sums = ([sum(counts[:first])] if first else []) + [sum(counts[at : at + each]) for at in starts]
    levels, most = _LEVELS if screen.unicode else _ASCII_LEVELS, max(sums, default=0)
    top = len(levels) - 1
    return "".join(levels[0 if not count else max(1, round(count / most * top))] for count in sums)


def shortened(text: str, width: int, screen: Screen) -> str:
    """The text, its middle left out where it is too long: both ends of a name tell something."""
    if len(text) <= width:
        return text
    left = width - len(screen.ellipsis)
    if left < 2:
        return text[:width]
    return text[: left // 2] + screen.ellipsis + text[len(text) - (left - left // 2) :]


def fitting(texts: Sequence[str], screen: Screen, room: int = 0) -> str:
    """The first that fits beside `room` columns, else the last; a pipe gets the first."""
    if screen.width is None:
        return texts[0]
    return next((text for text in texts if len(text) <= screen.width - room), texts[-1])


def wrapped(text: str, screen: Screen, indent: int) -> list[str]:
    """The text in lines that fit, all but the first indented; one line for a pipe."""
    if screen.width is None or len(text) <= screen.width:
        return [text]
    import textwrap  # it and shutil take 10 ms to load, and a pipe needs neither

    return textwrap.wrap(
        text,
        screen.width,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
