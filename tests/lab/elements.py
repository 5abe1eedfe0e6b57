"""Reading what `nft list set` prints. Pure.

Knows nft's text. The JSON output was rejected: it cuts times to whole
seconds, and the tests of invariant 2 compare milliseconds.
"""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

_ELEMENT = re.compile(
    r"(?P<address>[0-9a-f][0-9a-f.:]*[0-9a-f:])"
    r'(?P<rest>(?: (?:counter|packets \d+|bytes \d+|timeout \w+|expires \w+|comment "[^"]*"))*)\s*[,}]'
)
_TIME = re.compile(r"(\d+)(ms|d|h|m|s)")
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class Element(NamedTuple):
    """One address in a set; times in seconds, None when it never lapses."""

    expires_s: float | None
    comment: str
    timeout_s: float | None
    packets: int
    bytes: int


def parse(text: str) -> dict[str, Element]:
    """The elements of the one set in `text`."""
    start = text.find("elements = {")
    if start < 0:
        return {}
    return {match["address"]: _element(match["rest"]) for match in _ELEMENT.finditer(text, start + 12)}


def _element(rest: str) -> Element:
    comment = re.search(r'comment "([^"]*)"', rest)
    plain = rest if comment is None else rest.replace(comment[0], "")
    words = plain.split()
    values = dict(itertools.pairwise(words))
    return Element(
        expires_s=_seconds(values.get("expires")),
        comment=comment[1] if comment else "",
        timeout_s=_seconds(values.get("timeout")),
        packets=int(values.get("packets", 0)),
        bytes=int(values.get("bytes", 0)),
    )


def _seconds(text: str | None) -> float | None:
    return None if text is None else sum(int(n) * _SECONDS[unit] for n, unit in _TIME.findall(text))
