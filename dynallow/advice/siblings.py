"""Wildcards for names that differ in one label alone, where many did.

Pure. Knows names, patterns and the public-suffix guard. Keeps: a wildcard stands for at least `MANY` distinct
labels that were seen at its place, never directly below a public suffix, never with less than two labels
behind it, and matches no name of a domain that `never` says no of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from dynallow.policy.names import labels, parse_name
from dynallow.policy.patterns import Pattern, parse_pattern
from dynallow.settings.suffixes import covers_public_suffix

MANY = 5
"""Distinct labels at one place before a wildcard is thought of."""
_BEHIND = 2  # labels behind the wildcard: "*.corp" would be everything there is at home
_TELLING = 3  # characters that labels have in common before that is taken for a naming scheme

Parts = tuple[str, ...]
Place = tuple[Parts, int]
"""The labels but one, and where that one stands."""


class Wildcard(NamedTuple):
    """A pattern and the names that were seen for it."""

    pattern: Pattern
    names: tuple[str, ...]


def wildcards(names: Iterable[str], never: Callable[[Pattern], bool]) -> tuple[list[Wildcard], list[str]]:
    """Patterns for siblings, the largest families first, and the names that none stands for."""
    left = {text: parts for text in names if (parts := _parts(text))}
    others = [text for text in names if text not in left]
    found: list[Wildcard] = []
    for (rest, place), members in _families(left):
        pattern = _pattern(rest, place, {left[text][place] for text in members})
        if pattern is not None and not never(pattern):
            found.append(Wildcard(pattern, tuple(sorted(members))))
            for text in members:
                del left[text]
    return found, sorted([*left, *others])


def _families(left: dict[str, Parts]) -> Iterator[tuple[Place, list[str]]]:
    """Names that differ in one label, the largest families first; less those that are gone by then."""
    families: dict[Place, list[str]] = defaultdict(list)
    for text, parts in left.items():
        for place in range(len(parts) - _BEHIND):
            families[(*parts[:place], *parts[place + 1 :]), place].append(text)
    # Of equal families the one whose wildcard stands furthest to the left says least.
    waiting = [(-len(members), key[1], key[0]) for key, members in families.items() if len(members) >= MANY]
    heapify(waiting)
    while waiting:
        size, place, rest = heappop(waiting)
        members = [text for text in families[rest, place] if text in left]
        if len(members) == -size:
            yield (rest, place), members
        elif len(members) >= MANY:
            heappush(waiting, (-len(members), place, rest))


def _pattern(rest: Parts, place: int, seen: set[str]) -> Pattern | None:
    label = _scheme(seen)
    pattern = parse_pattern(".".join((*rest[:place], label, *rest[place:])))
    return None if covers_public_suffix(pattern) is not None else pattern


def _scheme(seen: set[str]) -> str:
    """ "mirror-*" for mirror-1, mirror-2 …; "*" where they have too little in common."""
    head = _common(seen).rstrip("0123456789")
    tail = _common([word[len(head) :][::-1] for word in seen])[::-1].lstrip("0123456789")
    if len(head) + len(tail) < _TELLING or head.startswith("xn--"):
        return "*"
    return f"{head}*{tail}"


def _common(words: Iterable[str]) -> str:
    """What all of them begin with: that of the first and the last has every one between them."""
    first, *_, last = sorted(words)
    shared = 0
    while shared < min(len(first), len(last)) and first[shared] == last[shared]:
        shared += 1
    return first[:shared]


def _parts(text: str) -> Parts:
    """The labels of a name that can be part of a pattern; none of an odd one."""
    try:
        parse_pattern(text)
        return tuple([label.decode("ascii") for label in labels(parse_name(text))])
    except ValueError:
        return ()
