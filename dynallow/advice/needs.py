"""What was denied and would be again: sorted into what names were needed for, and what is to be left out.

Knows records and what the settings in force on disk make of each. Must not know rules to be made nor TOML.
Keeps: every record that these settings would not allow ends in exactly one of the three places of `Needs`;
what they would allow in none, so that advice once followed is not given again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from dynallow.advice.ruling import Court, Reason, Ruling
from dynallow.policy.names import Name, labels, parse_name, to_text
from dynallow.policy.patterns import parse_pattern
from dynallow.policy.policy import service_parent
from dynallow.policy.reserved import may_be_derived, reserved, without_suffix
from dynallow.policy.rrtypes import DEFAULT_TYPES, SERVICE_TYPES, parse_type
from dynallow.policy.special import special_purpose
from dynallow.units import PortRange, parse_port
from dynallow.usage.record import Record, Subject

OPENABLE: Final = frozenset(("private use", "shared address space", "unique-local"))
"""Special addresses that a rule may name in `private`; the others are this host, the link, or nobody."""
_REMEMBERED: Final = 16384  # names: they come again in question after question
_RESOLVERS: Final = frozenset(
    ("systemd-resolve", "systemd-resolved", "nscd", "unbound", "dnsmasq", "named", "kresd", "sssd_be")
)
"""Processes that ask for others: who they run as says nothing."""


_DENIED: Final = Ruling("denied")


@dataclass(slots=True)
class Use:
    """Who used a name how often on one port (None: only asked for it)."""

    port: PortRange | None
    user: int | None
    unit: str
    processes: set[str] = field(default_factory=set)
    addresses: set[str] = field(default_factory=set)
    types: dict[str, int] = field(default_factory=dict)
    times: int = 0
    first: float = float("inf")
    last: float = 0.0
    short: Ruling = _DENIED

    def take(self, record: Record) -> None:
        """Count the record."""
        subject = record.subject
        self.times += record.times
        self.first, self.last = min(self.first, record.first), max(self.last, record.last)
        if subject.process:
            self.processes.add(subject.process)
        if subject.address:
            self.addresses.add(subject.address)
        if subject.qtype:
            self.types[subject.qtype] = self.types.get(subject.qtype, 0) + record.times


@dataclass(slots=True)
class Left:
    """Something that no advice is given for; `text` says what could be done all the same."""

    why: str
    what: str
    text: str = ""
    times: int = 0
    last: float = 0.0
    processes: set[str] = field(default_factory=set)
    users: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Needs:
    """names: name → its uses; nameless: flows to addresses that no name gave; left: the rest."""

    names: dict[str, dict[tuple[PortRange | None, int | None, str], Use]] = field(default_factory=dict)
    nameless: dict[tuple[str, PortRange, int | None, str], Use] = field(default_factory=dict)
    left: dict[tuple[str, str], Left] = field(default_factory=dict)
    used_otherwise: dict[str, str] = field(default_factory=dict)
    """Names with connections that were left out, and why: nothing is to be guessed of these."""

    def leave(self, record: Record, why: str, what: str, text: str) -> None:
        """Note that the record is left out."""
        kept = self.left.setdefault((why, what), Left(why, what, text))
        kept.times, kept.last = kept.times + record.times, max(kept.last, record.last)
        if record.subject.process:
            kept.processes.add(record.subject.process)
        if record.subject.user is not None:
            kept.users.add(record.subject.user)

    def leave_name(self, why: str, name: str, text: str = "", what: str = "") -> Left:
        """Leave out all that a name was needed for, under its own name or as part of `what`."""
        kept = self.left.setdefault((why, what or name), Left(why, what or name, text))
        for use in self.names.pop(name).values():
            kept.times, kept.last = kept.times + use.times, max(kept.last, use.last)
            kept.processes |= use.processes
            if use.user is not None:
                kept.users.add(use.user)
        return kept


def needs_of(records: Iterable[Record], court: Court, suffixes: Sequence[Name] = ()) -> Needs:
    """What the records need that the court denies. `suffixes`: the host's search list."""
    needs = Needs()
    for record in records:
        subject = record.subject
        if subject.decision == "allowed":
            continue  # whatever a later change took away: `replay` tells of that
        ruling = court.judge(subject)
        if ruling.decision == "allowed":
            continue
        if subject.kind == "flow":
            _flow(needs, record, ruling)
        else:
            _question(needs, record, ruling, suffixes)
    return needs


def unit_of(subject_unit: str) -> str:
    """The unit where it says what it is for: sessions and transient ones are named by chance."""
    name = subject_unit
    if name.endswith(".scope") or name.startswith(("user@", "session-", "run-")):
        return ""
    return name


def _flow(needs: Needs, record: Record, ruling: Ruling) -> None:
    subject = record.subject
    where = f"{subject.address} {subject.port}"
    if ruling.why in _FLOWS_LEFT:
        needs.used_otherwise[subject.name] = ruling.why
        what = f"{subject.name} {subject.port}" if subject.name else where
        needs.leave(record, ruling.why, what, _told(subject, ruling))
        return
    port = parse_port(subject.port)
    user = subject.user
    unit = unit_of(subject.unit)
    address = ip_address(subject.address)
    if subject.name and (fault := _unlistable(subject.name)):
        needs.leave(record, *fault)
        return
    special = special_purpose(address.packed)
    if special is not None and subject.name and special not in OPENABLE:
        needs.used_otherwise[subject.name] = "special"
        needs.leave(record, "special", f"{subject.name} {subject.address}", special)
    elif subject.name:
        name = to_text(parse_name(subject.name))
        use = needs.names.setdefault(name, {}).setdefault((port, user, unit), Use(port, user, unit))
        use.short = ruling
        use.take(record)
    elif ruling.rules:
        needs.leave(record, ruling.why, where, _told(subject, ruling))
    else:
        key = (subject.address, port, user, unit)
        needs.nameless.setdefault(key, Use(port, user, unit)).take(record)


_FLOWS_LEFT: Final[frozenset[Reason]] = frozenset(
    ("dns", "lapsed", "protocol", "excepted", "expired", "type")
)


def _question(needs: Needs, record: Record, ruling: Ruling, suffixes: Sequence[Name]) -> None:
    subject = record.subject
    left = _question_left(subject, ruling, suffixes)
    if left is not None:
        needs.leave(record, *left)
        return
    name, qtype = parse_name(subject.name), parse_type(subject.qtype)
    name = (service_parent(name) if qtype in SERVICE_TYPES else None) or name
    user = None if subject.process in _RESOLVERS else subject.user
    unit = "" if subject.process in _RESOLVERS else unit_of(subject.unit)
    uses = needs.names.setdefault(to_text(name), {})
    uses.setdefault((None, user, unit), Use(None, user, unit)).take(record)


def _question_left(subject: Subject, ruling: Ruling, suffixes: Sequence[Name]) -> tuple[str, str, str] | None:
    """(why, what, what to say) of a question that no rule is made for."""
    if fault := _unlistable(subject.name):
        return fault
    name = parse_name(subject.name)
    if ruling.why in ("reserved", "excepted", "expired"):
        return ruling.why, subject.name, _told(subject, ruling)
    if ruling.why == "type":
        return "type", f"{subject.name} {subject.qtype}", _told(subject, ruling)
    if not may_be_derived(name) and labels(name)[1:]:
        return "reverse", subject.name, ""
    if suffixes and (bare := without_suffix(name, suffixes)):
        return "search", subject.name, f"{to_text(bare)} with a suffix of resolver.search-suffixes"
    try:
        qtype = parse_type(subject.qtype)
    except ValueError:
        return "type", f"{subject.name} {subject.qtype}", ""
    if qtype not in DEFAULT_TYPES:
        return "type", f"{subject.name} {subject.qtype}", ""
    return None


@lru_cache(maxsize=_REMEMBERED)
def _unlistable(text: str) -> tuple[str, str, str] | None:
    try:
        name = parse_name(text)
        if reserved(name) is not None:
            return "reserved", text, ""
        if "*" not in text:
            parse_pattern(to_text(name))
            return None
    except ValueError:
        pass
    return "odd", text, "no host's name: no rule can list it"


def _told(subject: Subject, ruling: Ruling) -> str:
    rules = ", ".join(ruling.rules)
    match ruling.why:
        case "excepted":
            return f"rule {rules} excepts it"
        case "expired":
            return f"rule {rules} has expired: prolong it there if it is still needed"
        case "type":
            return f"rule {rules} lists the name, not the type: add it to its types if it is needed"
        case "lapsed":
            return f"rule {rules} allows it: the address was used for longer than its lease (lease.grace)"
        case "port" | "user":
            return f"{rules} opens the address: its {ruling.why}s leave this out"
    return ""
