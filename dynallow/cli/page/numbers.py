"""Numbers and moments as the report writes them. Pure, but for the time zone of who reads it."""

from __future__ import annotations

from datetime import datetime

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400


def count(number: int) -> str:
    """ "12,340"."""
    return f"{number:,}"


def short(number: float) -> str:
    """For an axis: "950", "1.2k", "3M"."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def read(moment: str) -> datetime:
    """A moment of the API, in local time. Raises ValueError."""
    return datetime.fromisoformat(moment).astimezone()


def at(moment: str | None) -> str:
    """ "2026-11-22 15:04", in local time; "" for none."""
    return "" if not moment else f"{read(moment):%Y-%m-%d %H:%M}"


def span(first: str, last: str) -> str:
    """From when to when, as short as it can be told: "11-21 09:12 – 17:40"."""
    one, other = read(first), read(last)
    if one.replace(second=0) == other.replace(second=0):
        return f"{one:%m-%d %H:%M}"
    if one.date() == other.date():
        return f"{one:%m-%d %H:%M} – {other:%H:%M}"
    return f"{one:%m-%d %H:%M} – {other:%m-%d %H:%M}"
