"""Name lists: one pattern a line, `#` starts a comment, blank lines are nothing.

Knows the file format. Must not know what a rule allows.
Keeps: a million plain names go from the file into the index one by one; no line, text or
object a name stays behind. So plain lower-case names take a short way here that gives exactly what
`parse_pattern` would (a test compares them), and all else takes the long one.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dynallow.errors import Fault
from dynallow.policy.names import Name
from dynallow.policy.patterns import Pattern, parse_pattern
from dynallow.policy.policy import PolicyBuilder
from dynallow.policy.rules import Rule
from dynallow.settings.shown import shown

# A list of the wrong kind (HTML, hosts format) has a fault on every line; the first few tell.
MOST_FAULTS = 20

# The last label starts with a letter: what ends in digits may be an IPv4 address.
_PLAIN = re.compile(rb"(?:[a-z0-9_-]{1,63}\.)*[a-z][a-z0-9-]{0,62}")
_LONGEST = 253
_SIZES = tuple(bytes((size,)) for size in range(64))


def read_names(
    path: Path, builder: PolicyBuilder, rule: Rule, guard: Callable[[Pattern], None]
) -> list[Fault]:
    """Add the file's patterns to `rule`; `guard` raises ValueError for one that the rule may not list."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return [Fault(str(path), "", "expected a regular file, got something else")]
        with path.open("rb") as lines:
            return take_lines(str(path), lines, builder, rule, guard)
    except OSError as error:
        return [Fault(str(path), "", f"expected a readable list of names, got: {error.strerror}")]


def take_lines(
    where: str,
    lines: Iterable[bytes],
    builder: PolicyBuilder,
    rule: Rule,
    guard: Callable[[Pattern], None] = lambda pattern: None,
) -> list[Fault]:
    """Add the patterns in these lines to `rule`. Raises what reading them raises."""
    faults: list[Fault] = []
    hidden = 0

    def take(number: int, line: bytes) -> None:
        nonlocal hidden
        try:
            pattern = _parse_line(line)
            if pattern is not None:
                guard(pattern)
                builder.add_pattern(rule, pattern)
        except ValueError as error:
            if len(faults) < MOST_FAULTS:
                faults.append(Fault(where, str(number), str(error)))
            else:
                hidden += 1

    builder.add_names(rule, _plain_names(lines, take))
    if hidden:
        faults.append(Fault(where, "", f"expected names, got {hidden} more faults like these"))
    return faults


def _plain_names(lines: Iterable[bytes], take: Callable[[int, bytes], None]) -> Iterator[Name]:
    plain, sizes = _PLAIN.fullmatch, _SIZES
    for number, line in enumerate(lines, 1):
        text = line.rstrip()
        if plain(text) and len(text) <= _LONGEST:
            yield b"".join([sizes[len(label)] + label for label in text.split(b".")]) + b"\0"
        else:
            take(number, text)


def _parse_line(line: bytes) -> Pattern | None:
    try:
        text = line.decode("utf-8-sig").partition("#")[0].strip()
    except UnicodeDecodeError:
        raise ValueError(f"expected UTF-8 text, got {shown(line.decode('latin-1'))}") from None
    return parse_pattern(text) if text else None
