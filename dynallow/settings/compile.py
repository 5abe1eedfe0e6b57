"""Rules as written → the policy.

Knows the rule's settings, list files and the public-suffix guard. Must not know TOML.
Keeps: every fault is found although the policy is not usable then; a rule
whose own table is faulty is left out by `load` before it comes here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from dynallow.errors import Fault
from dynallow.policy.names import Name
from dynallow.policy.patterns import Pattern
from dynallow.policy.policy import Policy, PolicyBuilder
from dynallow.policy.rules import Rule
from dynallow.settings.faults import path_text
from dynallow.settings.model import RuleSettings
from dynallow.settings.names_from import read_names, take_lines
from dynallow.settings.suffixes import covers_public_suffix

ListLine = tuple[int, bytes]
"""A rule's number, and a line of a list of its."""


@dataclass(frozen=True, slots=True)
class RuleSource:
    """A rule's settings with the file that they stand in and their place among that file's rules."""

    file: Path
    index: int
    rule: RuleSettings

    def lists(self) -> Iterator[Path]:
        """The rule's list files; a relative path starts at the settings file."""
        return (self.file.parent / path for path in self.rule.names_from)


def compile_policy(
    sources: Iterable[RuleSource], apart: Iterable[Name] = (), lists: Iterable[ListLine] | None = None
) -> tuple[Policy, list[Fault]]:
    """The policy of these rules in their order, and what is wrong with their names.

    Names below those of `apart` are not taken for their neighbours. With `lists`, what list files
    gave once stands there, and they are not read.
    """
    builder = PolicyBuilder()
    builder.set_apart(apart)
    faults: list[Fault] = []
    rules = []
    for source in sources:
        rules.append(rule := _rule(builder, source.rule))
        faults += _add(builder, rule, source, read=lists is None)
    for number, lines in groupby(lists or (), itemgetter(0)):
        faults += take_lines("", (line for _, line in lines), builder, rules[number])
    return builder.build(), faults


def end_of_day(day: date) -> float:
    """The first epoch second after `day` in UTC."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return midnight.timestamp() + timedelta(days=1).total_seconds()


def _rule(builder: PolicyBuilder, settings: RuleSettings) -> Rule:
    return builder.add_rule(
        settings.name,
        ports=settings.ports,
        users=settings.users,
        types=frozenset(settings.types),
        private=settings.private,
        reason=settings.reason,
        owner=settings.owner,
        expires_at=None if settings.expires is None else end_of_day(settings.expires),
    )


def _add(builder: PolicyBuilder, rule: Rule, source: RuleSource, *, read: bool) -> Iterator[Fault]:
    settings = source.rule

    def guard(pattern: Pattern) -> None:
        if (pattern.below or not pattern.literal) and not settings.allow_public_suffix:
            _reject_public(pattern)

    for place, pattern in enumerate(settings.names):
        try:
            guard(pattern)
            builder.add_pattern(rule, pattern)
        except ValueError as error:
            yield Fault(str(source.file), path_text(("rule", source.index, "names", place)), str(error))
    for pattern in settings.except_:
        builder.add_exception(rule, pattern)
    for path in source.lists() if read else ():
        yield from read_names(path, builder, rule, guard)


def _reject_public(pattern: Pattern) -> None:
    suffix = covers_public_suffix(pattern)
    if suffix is not None:
        raise ValueError(
            f'expected a pattern below a name of one owner, got "{pattern}": anyone can register names '
            f'under "{suffix}" (allow-public-suffix = true in the rule accepts it)'
        )
