"""What about rules and destinations no longer earns its place, or cannot be answered for.

Pure. Knows the settings, what was used of them, and what names were found to be gone (asked by the caller).
Keeps: nothing is called unused unless the records reach back far enough to say so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Final, NamedTuple

from dynallow.advice.coverage import destination_covers, rule_covers
from dynallow.advice.plaintext import day, listed_few
from dynallow.advice.ruling import Court
from dynallow.advice.usedby import Used, used_by
from dynallow.durations import format_duration
from dynallow.policy.names import Name, parse_name, to_text, to_wire
from dynallow.policy.patterns import Pattern
from dynallow.policy.rrtypes import SVCB, type_text
from dynallow.policy.verdict import ALLOWED
from dynallow.settings import Destination, Loaded, RuleSettings
from dynallow.units import PortRange
from dynallow.usage.record import Record

DAY_S: Final = 86400.0
SOON_S: Final = 30 * DAY_S
NAMES_MAX: Final = 200
"""Names that are asked for whether they still exist."""
_FEW: Final = 5
_WIDE: Final = 2  # a wildcard for so few names could be these names
_SHARED_MAX: Final = 50
_UNUSED = Used()

KINDS: Final = {
    "no-reason": "nobody wrote down why",
    "no-owner": "nobody answers for it",
    "expired": "allows nothing any more",
    "expires-soon": "ends within 30 days",
    "unused": "nothing used it",
    "unused-name": "a pattern that no name in use fitted",
    "wide-name": "a wildcard for one name or two",
    "wide-ports": "ports that nothing used",
    "wide-users": "users who never used it, or everybody where few did",
    "wide-types": "record types that nobody asked for",
    "gone": "a name that no longer exists",
    "shared": "an address that a denied name has too",
    "covered": "another rule or destination does all that it does",
}


class Finding(NamedTuple):
    """One thing to look at; `name` is the pattern or name that it is about, if it is about one."""

    kind: str
    section: str
    text: str
    name: str = ""


class Audit(NamedTuple):
    """findings by rule, in the settings' order; notes: what could not be looked at."""

    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def audit(
    records: Sequence[Record],
    loaded: Loaded,
    wall: float,
    *,
    begins: float | None,
    unused_after_s: float = 30 * DAY_S,
    gone: Mapping[str, str] | None = None,
    users: Mapping[int, str] | None = None,
) -> Audit:
    """Look through everything. `begins`: what the records reach back to; `gone`: name → how it failed."""
    used = used_by(records, loaded, wall)
    told = begins is not None and begins <= wall - unused_after_s
    counted = any(record.subject.kind == "flow" for record in records)
    settings = loaded.settings
    findings: list[Finding] = []
    for rule in settings.rules:
        own = used.get(rule.name, _UNUSED)
        findings += _papers(rule, wall)
        findings += _use(rule.name, own, wall - unused_after_s, told, counted)
        if told and own.last > wall - unused_after_s:
            findings += _wide_rule(rule, own, users or {})
        findings += _gone(rule, gone or {})
        findings += _covered(rule, settings.rules)
    for destination in settings.destinations:
        own = used.get(destination.name, _UNUSED)
        if not destination.reason:
            findings.append(Finding("no-reason", destination.name, KINDS["no-reason"]))
        findings += _use(destination.name, own, wall - unused_after_s, told and counted, counted)
        if told and own.last > wall - unused_after_s:
            findings += _wide_section(destination, own, users or {})
        findings += _covered_destination(destination, settings.destinations)
    findings += _shared(records, Court(loaded, wall, records))
    return Audit(tuple(findings), tuple(_notes(wall, begins, unused_after_s, told, counted)))


def names_to_ask(records: Iterable[Record], loaded: Loaded, wall: float) -> tuple[list[str], int]:
    """Listed names that nobody connected to, `NAMES_MAX` at most; and how many more there are.

    Only those that may be asked for: of others dynallow itself says that they do not exist.
    """
    used = used_by(records, loaded, wall)
    connected = {name for own in used.values() if own.connections for name in own.names}
    names: dict[str, None] = {}
    for rule in loaded.settings.rules:
        for pattern in rule.names:
            if not pattern.literal or not pattern.apex or (text := _text(pattern)) in connected:
                continue
            if loaded.policy.decide(parse_name(text), SVCB, wall).outcome is ALLOWED:
                names[text] = None
    listed = list(names)
    return listed[:NAMES_MAX], max(len(listed) - NAMES_MAX, 0)


def _papers(rule: RuleSettings, wall: float) -> Iterator[Finding]:
    for kind, value in (("no-reason", rule.reason), ("no-owner", rule.owner)):
        if not value:
            yield Finding(kind, rule.name, KINDS[kind])
    if rule.expires is None:
        return
    left_s = _end(rule.expires) - wall
    if left_s <= 0:
        yield Finding("expired", rule.name, f"since the end of {rule.expires}: {KINDS['expired']}")
    elif left_s <= SOON_S:
        yield Finding("expires-soon", rule.name, f"on {rule.expires}, in {format_duration(left_s)}")


def _end(last: date) -> float:
    return datetime(last.year, last.month, last.day, tzinfo=UTC).timestamp() + DAY_S


def _use(section: str, used: Used, since: float, told: bool, counted: bool) -> Iterator[Finding]:
    """`counted`: connections are; else the questions must do."""
    if not told or (used.last_connection if counted else used.last) > since:
        return
    if used.last_question > since:
        text = f"asked for {used.questions} ×, last on {day(used.last_question)}, but no connection"
    elif used.last:
        text = f"nothing since {day(used.last)}"
    else:
        text = "nothing as far back as the records go"
    yield Finding("unused", section, text)


def _wide_rule(rule: RuleSettings, used: Used, users: Mapping[int, str]) -> Iterator[Finding]:
    names = {text: parse_name(text) for text in used.names}
    for pattern in rule.names:
        fitting = _fitting(pattern, names)
        text = str(pattern)
        if not fitting:
            yield Finding("unused-name", rule.name, f"{text}: {KINDS['unused-name']}", text)
        elif (pattern.below or not pattern.literal) and len(fitting) <= _WIDE and fitting != [text]:
            yield Finding("wide-name", rule.name, f"{text} was used for {' and '.join(fitting)} alone", text)
    yield from _wide_section(rule, used, users)
    if "types" in rule.model_fields_set:
        idle = [type_text(each) for each in rule.types if type_text(each) not in used.types]
        if idle and used.questions:
            yield Finding("wide-types", rule.name, f"nobody asked for {listed_few(idle, _FEW)}")


def _fitting(pattern: Pattern, names: Mapping[str, Name]) -> list[str]:
    if pattern.literal and not pattern.below:
        text = _text(pattern)
        return [text] if text in names else []
    return sorted(text for text, name in names.items() if pattern.matches(name))


def _wide_section(
    section: RuleSettings | Destination, used: Used, users: Mapping[int, str]
) -> Iterator[Finding]:
    if not used.connections:
        return
    for port in section.ports:
        inside = sorted(each for each in used.ports if each in port)
        if not inside:
            yield Finding("wide-ports", section.name, f"nothing used {port}")
        elif port.first != port.last and len(inside) < port.last - port.first + 1:
            used_text = listed_few([str(each) for each in _joined(inside)], _FEW)
            if used_text != str(port):
                yield Finding("wide-ports", section.name, f"of {port} nothing but {used_text} was used")
    known = sorted(user for user in used.users if user is not None)
    if section.users:
        idle = [users.get(user, str(user)) for user in section.users if user not in known]
        if idle:
            yield Finding("wide-users", section.name, f"not used by {listed_few(idle, _FEW)}")
    elif known and len(known) <= _WIDE and None not in used.users:
        who = " and ".join(users.get(user, str(user)) for user in known)
        yield Finding("wide-users", section.name, f"open to every user, used by {who} alone")


def _joined(ports: Sequence[PortRange]) -> list[PortRange]:
    result: list[PortRange] = []
    for port in ports:
        if result and result[-1].last + 1 == port.first:
            result[-1] = PortRange(port.protocol, result[-1].first, port.last)
        else:
            result.append(port)
    return result


def _gone(rule: RuleSettings, gone: Mapping[str, str]) -> Iterator[Finding]:
    for pattern in rule.names:
        if pattern.literal and pattern.apex and (how := gone.get(_text(pattern))):
            yield Finding("gone", rule.name, f"{_text(pattern)}: {how}", str(pattern))


def _covered(rule: RuleSettings, rules: Sequence[RuleSettings]) -> Iterator[Finding]:
    place = [each.name for each in rules].index(rule.name)
    for number, other in enumerate(rules):
        # Of two that say the same the later one is superfluous.
        if number != place and rule_covers(other, rule) and (number < place or not rule_covers(rule, other)):
            yield Finding("covered", rule.name, f"rule {other.name} allows all that it does")
            return


def _covered_destination(one: Destination, all_: Sequence[Destination]) -> Iterator[Finding]:
    place = [each.name for each in all_].index(one.name)
    for number, other in enumerate(all_):
        wider = number != place and destination_covers(other, one)
        if wider and (number < place or not destination_covers(one, other)):
            yield Finding("covered", one.name, f"destination {other.name} opens all that it does")
            return


def _shared(records: Sequence[Record], court: Court) -> Iterator[Finding]:
    """Addresses that an allowed and a denied name were both seen with: the chain cannot tell them apart."""
    allowed: dict[str, dict[str, str]] = defaultdict(dict)  # address → rule → the name that it is leased for
    denied: dict[str, set[str]] = defaultdict(set)
    for subject, *_ in records:
        name, address = subject.name, subject.address
        if subject.kind != "flow" or not name or not address:
            continue
        if rules := court.rules_of(name, address):
            allowed[address].setdefault(rules[0], name)
        elif not court.is_derived(name):
            denied[address].add(name)
            if court.was_denied(name) and court.is_rule(subject.rule):
                allowed[address].setdefault(subject.rule, "")  # leased for a name that gave it before
    shared: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for address in sorted(denied):
        for rule, name in allowed[address].items():
            for other in sorted(denied[address]):
                shared[rule, name, other].append(address)
    for (rule, name, other), addresses in list(shared.items())[:_SHARED_MAX]:
        what = name or "a name of this rule"
        yield Finding(
            "shared",
            rule,
            f"{what} shares {listed_few(addresses, _WIDE)} with {other}, which is denied",
            name,
        )


def _notes(
    wall: float, begins: float | None, unused_after_s: float, told: bool, counted: bool
) -> Iterator[str]:
    if not told:
        reach = (
            "nothing is recorded" if begins is None else f"records begin {format_duration(wall - begins)} ago"
        )
        span = format_duration(unused_after_s)
        yield f"{reach}: what is unused for {span}, or wider than its use, cannot be told yet"
    elif not counted:
        yield "no connection is recorded at all (are they counted? `dynallow status` says): questions must do"


def _text(pattern: Pattern) -> str:
    return to_text(to_wire(pattern.labels, ""))
