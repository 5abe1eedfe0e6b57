"""What was denied most: by name, destination, user, process and reason.

Pure. Knows rows of the history; must not know how they were counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from dynallow.cli.page.markup import Html, tag
from dynallow.cli.page.numbers import count, span
from dynallow.control.historyschema import HistoryRow

SHOWN: Final = 10
_IN_WORDS: Final = ("Users", "Reasons")
_FAMILY: Final = 5  # names below one domain that are told as one
WHY: Final = {
    "not-listed": "no rule lists the name",
    "excepted": "a rule excepts the name",
    "expired": "the rule has expired",
    "reserved": "names that are never asked for",
    "type": "record type that the rule leaves out",
    "dns": "DNS past dynallow",
    "port": "a port that the rule leaves out",
    "user": "a user that the rule leaves out",
    "lapsed": "the lease had ended",
    "name": "an address of a name that no rule allows",
    "no-name": "an address that never came from DNS",
}


class Top(NamedTuple):
    """One line of a list."""

    label: str
    note: str
    times: int
    first: str
    last: str


def top(
    rows: Iterable[HistoryRow], key: Callable[[HistoryRow], str], note: Callable[[HistoryRow], str]
) -> list[Top]:
    """The sums by `key`, the most frequent first; rows without one are left out. `note` is of the first."""
    sums: dict[str, Top] = {}
    for row in rows:
        label = key(row)
        if not label:
            continue
        known = sums.get(label)
        if known is None:
            sums[label] = Top(label, note(row), row["count"], row["first"], row["last"])
        else:
            sums[label] = known._replace(
                times=known.times + row["count"],
                first=min(known.first, row["first"]),
                last=max(known.last, row["last"]),
            )
    return sorted(sums.values(), key=lambda one: (-one.times, one.label))


def tops(denied: Sequence[HistoryRow], user: Callable[[int], str]) -> Html:
    """All the lists; those with nothing in them are left out."""
    questions = [row for row in denied if row["kind"] == "question"]
    flows = [row for row in denied if row["kind"] == "flow"]

    def who(row: HistoryRow) -> str:
        return "" if row["user"] is None else user(row["user"])

    lists = (
        ("Names asked for", top(questions, _family_of(questions), _odd_reason)),
        (
            "Destinations",
            top(flows, destination, lambda row: f"{row['name'] or 'no name known'}: {reason(row)}"),
        ),
        ("Users", top(denied, who, lambda row: "")),
        ("Processes", top(denied, process, lambda row: row["unit"])),
        ("Reasons", top(denied, lambda row: row["why"] and reason(row), lambda row: "")),
        ("Rules that come nearest", top(denied, lambda row: row["rule"], reason)),
    )
    return tag("div", *(_list(title, found) for title, found in lists if found), class_="tops")


def _family_of(rows: Iterable[HistoryRow]) -> Callable[[HistoryRow], str]:
    """A name, or all that was made up below one domain: data that leaves in names, or a search list."""
    below: dict[str, set[str]] = {}
    for row in rows:
        below.setdefault(_parent(row["name"]), set()).add(row["name"])

    def family(row: HistoryRow) -> str:
        parent = _parent(row["name"])
        names = below[parent]
        many = len(names) >= _FAMILY and "." in parent
        return f"*.{parent} ({count(len(names))} names)" if many else row["name"]

    return family


def _parent(name: str) -> str:
    return name.partition(".")[2]


def _odd_reason(row: HistoryRow) -> str:
    """Most names are denied because nobody lists them: that need not be said of each."""
    return "" if row["why"] == "not-listed" else reason(row)


def destination(row: HistoryRow) -> str:
    """ "192.0.2.1 tcp/443"."""
    return f"{row['address']} {row['port']}".strip()


def process(row: HistoryRow) -> str:
    """The program, else its unit."""
    return row["process"] or row["unit"]


def reason(row: HistoryRow) -> str:
    """Why, in words; an unknown one as it is."""
    return WHY.get(row["why"], row["why"])


def _list(title: str, found: Sequence[Top]) -> Html:
    most = found[0].times
    lines = [
        tag(
            "tr",
            tag("td", tag("span", one.label, class_=None if title in _IN_WORDS else "name"), _note(one.note)),
            tag("td", tag("div", style=f"width:{100 * one.times / most:.1f}%"), class_="bar"),
            tag("td", count(one.times), class_="n"),
            tag("td", span(one.first, one.last), class_="when"),
        )
        for one in found[:SHOWN]
    ]
    left = found[SHOWN:]
    more = f"and {count(len(left))} more, {count(sum(one.times for one in left))} times" if left else None
    return tag(
        "div",
        tag("h3", title),
        tag("table", *lines),
        tag("p", more, class_="note") if more else None,
        class_="top",
    )


def _note(text: str) -> Html | None:
    return tag("div", text, class_="note") if text else None
