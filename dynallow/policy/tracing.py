"""Which pattern of a rule decided: read back from the index on demand, for people who ask why.

Keeps: nothing is stored for it. `.x.example` stands in the index as an entry for the name and
one for all below, so that `x.example` and `*.x.example` written apart read back as `.x.example`.
"""

from __future__ import annotations

from collections.abc import Iterator

from dynallow.policy.index import Index, Table, mask
from dynallow.policy.names import ROOT, Name, labels
from dynallow.policy.patterns import Pattern
from dynallow.policy.rules import Rule
from dynallow.policy.verdict import RuleTrace


def trace(
    rules: tuple[Rule, ...],
    listed: Index,
    excepted: Index,
    names: tuple[Name, ...],
    qtype: int,
    wall: float,
) -> tuple[RuleTrace, ...]:
    """What each rule that lists one of `names` makes of a question of `qtype`."""
    traces = []
    for rule in rules:
        pattern = _first(listed, names, rule.index)
        if pattern is None:
            continue
        exception = _first(excepted, names, rule.index)
        if rule.expired(wall):
            traces.append(RuleTrace(rule, pattern, exception, "expired"))
        elif exception is not None:
            traces.append(RuleTrace(rule, pattern, exception, "excepted"))
        else:
            outcome = RuleTrace(rule, pattern, None, "allows" if qtype in rule.types else "filtered")
            traces.append(outcome)
    return tuple(traces)


def _first(index: Index, names: tuple[Name, ...], rule: int) -> str | None:
    for name in names:
        for pattern in _matching(index, labels(name), rule):
            return str(pattern)
    return None


def _matching(index: Index, parts: tuple[bytes, ...], rule: int) -> Iterator[Pattern]:
    """The patterns of `rule` that list the name, the most specific first."""
    for found in _entries(index.exact, parts, rule):
        yield Pattern(found, True, found in _entries(index.deep, parts, rule))
    for count in range(len(parts) - 1, 0, -1):
        for found in _entries(index.deep, parts[-count:], rule):
            yield Pattern(found, found in _entries(index.exact, parts[-count:], rule), True)


def _entries(table: Table, parts: tuple[bytes, ...], rule: int) -> list[tuple[bytes, ...]]:
    """The pattern labels of the table's entries for exactly these labels."""
    key = b"".join([bytes((len(part),)) + part for part in parts])
    found = [parts] if rule in table.literal.get(key + ROOT, ()) else []
    for shape, entries in table.shaped.get(len(parts), {}).items():
        masked = mask(parts, shape)
        if masked is not None and rule in entries.get(masked, ()):
            found.append(labels(masked + ROOT))
    return found
