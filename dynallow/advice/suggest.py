"""From records to rules that would allow what they needed, each with its evidence; and what is left out, why.

Pure. Knows the settings that the rules are to stand beside. Must not know TOML (`draft.py`) nor where records
come from. Keeps: what is suggested, once added, is not suggested again; no wildcard where none may stand
(`siblings.py`); nothing for DNS past dynallow, for what an exception takes away, for tunnels' names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Final, NamedTuple

from dynallow.advice.coverage import may_meet
from dynallow.advice.groups import Group, groups_of, joined, private_of
from dynallow.advice.lookups import asked, connected, domain_of, leave_lookups
from dynallow.advice.needs import Left, Needs, Use, needs_of
from dynallow.advice.plaintext import day, listed_few, rule_name, visible
from dynallow.advice.ruling import Court
from dynallow.advice.siblings import Wildcard, wildcards
from dynallow.policy.names import labels, parse_name
from dynallow.policy.patterns import Pattern
from dynallow.settings import Loaded
from dynallow.units import PortRange
from dynallow.usage.record import Record

_RESERVED_NAMES: Final = ("revoked", "probe", "used", "denied")  # kernel sets of dynallow's own
_FEW = 5
Where = Callable[[str, str], str | None]
"""(rule, name) → "file:line" of the pattern by which the rule lists the name."""


class Beside(NamedTuple):
    """A rule that lists the name already, and what it leaves out: another way to the same end."""

    name: str
    rule: str
    where: str
    why: str


class Suggested(NamedTuple):
    """A rule to add."""

    name: str
    names: tuple[str, ...]
    wildcards: tuple[Wildcard, ...]
    ports: tuple[PortRange, ...]
    users: tuple[int, ...]
    private: tuple[IPv4Network | IPv6Network, ...]
    reason: str
    guessed: bool
    connections: int
    questions: int
    first: float
    last: float
    units: tuple[str, ...]
    processes: tuple[str, ...]
    beside: tuple[Beside, ...]
    counts: dict[str, str]
    """Of each name, how often what was seen."""


class Nameless(NamedTuple):
    """Connections to an address that no name gave; a destination would open it."""

    address: str
    port: PortRange
    user: int | None
    unit: str
    processes: tuple[str, ...]
    times: int
    first: float
    last: float


class Advice(NamedTuple):
    """What `suggest` has to say."""

    rules: tuple[Suggested, ...]
    left: tuple[Left, ...]
    nameless: tuple[Nameless, ...]


def suggest(
    records: Sequence[Record],
    loaded: Loaded,
    wall: float,
    *,
    min_count: int | None = None,
    user_name: Callable[[int], str | int] = lambda uid: uid,
    where: Where = lambda rule, name: None,
) -> Advice:
    """Rules for what the records needed and the settings deny at wall-clock time `wall`."""
    court = Court(loaded, wall, records)
    needs = needs_of(records, court, loaded.settings.resolver.search_suffixes)
    ends = leave_lookups(needs, (record.subject.name for record in records), min_count)
    taken = {*_RESERVED_NAMES, *(rule.name for rule in loaded.settings.rules)}
    taken.update(destination.name for destination in loaded.settings.destinations)
    rules = []
    for group in groups_of(needs):
        rule = _rule(group, taken, wall, user_name, _never(loaded, ends))
        rules.append(rule._replace(beside=_beside(group, court, where)))
        taken.add(rule.name)
    left = sorted(needs.left.values(), key=lambda each: (each.why, -each.times, each.what))
    return Advice(tuple(rules), tuple(left), _nameless(needs))


def _rule(
    group: Group,
    taken: set[str],
    wall: float,
    user_name: Callable[[int], str | int],
    never: Callable[[Pattern], bool],
) -> Suggested:
    # Names that nobody connected to may be made up, to carry something out.
    found, exact = wildcards(sorted(group.names), (lambda _: True) if group.guessed else never)
    uses = group.uses
    units = tuple(sorted({use.unit for use in uses if use.unit}))
    flows, questions = connected(uses), sum(asked(own) for own in group.names.values())
    first, last = min(use.first for use in uses), max(use.last for use in uses)
    processes = tuple(sorted({visible(process) for use in uses for process in use.processes}))
    rule = Suggested(
        rule_name(_words(group, units, user_name), taken),
        (*(str(each.pattern) for each in found), *exact),
        tuple(found),
        joined(group.ports),
        group.users,
        private_of(uses),
        "",
        group.guessed,
        flows,
        questions,
        first,
        last,
        units,
        processes,
        (),
        {
            name: _counted(connected(own), asked(own) if group.guessed else 0)
            for name, own in group.names.items()
        },
    )
    return rule._replace(reason=_reason(rule, wall, user_name))


def _words(group: Group, units: Sequence[str], user_name: Callable[[int], str | int]) -> str:
    """Who used it, and for what where that is one domain: "apt-daily debian"."""
    domains = {domain_of(name) for name in group.names}
    domain = domains.pop() if len(domains) == 1 else ""
    words = []
    if len(units) == 1:
        words.append(units[0].rpartition(".")[0] or units[0])
    elif len(group.users) == 1:
        user = user_name(group.users[0])
        words.append(user.strip("_") if isinstance(user, str) else f"uid {user}")
    if domain:
        words.append(domain.partition(".")[0] if words else domain)
    if group.guessed:
        words.append("asked")
    return " ".join(words) or "suggested"


def _reason(rule: Suggested, wall: float, user_name: Callable[[int], str | int]) -> str:
    """The evidence in one line: how often, by whom, since when."""
    who = [visible(str(user_name(uid))) for uid in rule.users]
    what = [visible(unit) for unit in rule.units] or list(rule.processes)
    by = f" by {listed_few(who, _FEW)}" if who else ""
    of = f" ({listed_few(what, _FEW)})" if what else ""
    return (
        f"suggested {day(wall)}: {_counted(rule.connections, rule.questions)}{by}{of} since {day(rule.first)}"
    )


def _counted(connections: int, questions: int) -> str:
    counts = []
    if connections:
        counts.append(f"{connections} connection{'s' if connections != 1 else ''}")
    if questions:
        counts.append(f"{questions} question{'s' if questions != 1 else ''}")
    return " and ".join(counts)


def _never(loaded: Loaded, ends: frozenset[str]) -> Callable[[Pattern], bool]:
    """Whether a wildcard would let in what a rule excepts, or what a tunnel asks for."""
    apart = [pattern for rule in loaded.settings.rules for pattern in rule.except_]
    apart += [Pattern(labels(parse_name(end)), apex=True, below=True) for end in sorted(ends)]
    return lambda wildcard: any(may_meet(wildcard, pattern) for pattern in apart)


def _beside(group: Group, court: Court, where: Where) -> tuple[Beside, ...]:
    """For each name the first rule that lists it already (what comes nearest may be a destination)."""
    found = []
    for name, uses in sorted(group.names.items()):
        near = [(rule, use.short.why) for use in uses for rule in use.short.rules if court.is_rule(rule)]
        for rule, why in near[:1]:
            found.append(Beside(name, rule, where(rule, name) or "", why))
    return tuple(found)


def _nameless(needs: Needs) -> tuple[Nameless, ...]:
    found = [
        Nameless(address, port, user, unit, _processes(use), use.times, use.first, use.last)
        for (address, port, user, unit), use in needs.nameless.items()
    ]
    return tuple(sorted(found, key=lambda each: (-each.times, each.address, str(each.port))))


def _processes(use: Use) -> tuple[str, ...]:
    return tuple(sorted(map(visible, use.processes)))
