"""Text that cannot break out of where it is put: TOML strings, TOML comments, a rule's name.

Pure. Keeps: whatever comes in (names and processes are strangers' words), a comment stays one comment
and a string one string that reads back as it was shown (`tests/property/test_suggest.py`).
"""

from __future__ import annotations

import re
from collections.abc import Container
from datetime import UTC, datetime

_LONGEST_COMMENT = 200
_NAME_MAX = 28  # a rule's, `settings.fields`
_NO_NAME = re.compile(r"[^a-z0-9]+")


def visible(text: str) -> str:
    """With what does not print shown as an escape: controls, line ends, bidi marks, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def quoted(text: str) -> str:
    """A TOML string of what of the text is visible; no escape but for quotes and backslashes is needed."""
    return '"' + visible(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def comment(text: str) -> str:
    """One comment line, cut short."""
    shown = visible(text)
    return f"# {shown if len(shown) <= _LONGEST_COMMENT else shown[: _LONGEST_COMMENT - 1] + '…'}".rstrip()


def rule_name(words: str, taken: Container[str]) -> str:
    """A name for a rule made of these words, and of a number where that one is taken."""
    base = _NO_NAME.sub("-", words.lower()).strip("-")
    if not base[:1].isalpha():
        base = f"rule-{base}".rstrip("-")
    name, number = base[:_NAME_MAX].rstrip("-"), 1
    while name in taken:
        number += 1
        end = f"-{number}"
        name = base[: _NAME_MAX - len(end)].rstrip("-") + end
    return name


def listed_few(words: list[str], most: int) -> str:
    """ "a, b and 3 more"."""
    few = ", ".join(words[:most])
    return few if len(words) <= most else f"{few} and {len(words) - most} more"


def moment(seconds: float) -> str:
    """ "2026-11-22 15:40" in UTC, of seconds since 1970."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):
        return "unknown"


def day(seconds: float) -> str:
    """ "2026-11-22" in UTC."""
    return moment(seconds)[:10]
