"""The policy: which rules let a question through, and why not when none does.

Knows rules and the name index; time is an argument. Must not know where the
settings came from. Keeps: nothing is remembered per name, so a stranger's questions
cannot make it grow; what is remembered per set of rules and record type is
bounded by the settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from dynallow.policy.index import Index, RuleSet, union
from dynallow.policy.names import ROOT, Name, labels, to_text
from dynallow.policy.patterns import Pattern
from dynallow.policy.reserved import REVERSE_V4, REVERSE_V6, UNLISTABLE, may_be_derived
from dynallow.policy.rrtypes import DEFAULT_TYPES, SERVICE_TYPES, is_data_type, type_text
from dynallow.policy.rules import Network, Rule
from dynallow.policy.tracing import trace
from dynallow.policy.verdict import UNLISTED, UNLISTED_ABOVE, UNLISTED_BELOW, Outcome, RuleTrace, Verdict
from dynallow.units import PortRange

_UNDERSCORE = ord("_")
_FEW = 64
_HTTPS_PORT = (PortRange("tcp", 443, 443),)


def _listing() -> Index:
    """An index of nothing, in which reverse names are not taken for their neighbours."""
    index = Index()
    index.set_apart(REVERSE_V4)
    index.set_apart(REVERSE_V6)
    return index


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules with their names. Made by `PolicyBuilder`; `Policy()` allows nothing."""

    rules: tuple[Rule, ...] = ()
    listed: Index = field(default_factory=_listing, repr=False)
    excepted: Index = field(default_factory=Index, repr=False)
    _allowed: dict[tuple[RuleSet, int], Verdict] = field(default_factory=dict, repr=False, compare=False)

    @property
    def count(self) -> int:
        """How many patterns the rules list."""
        return self.listed.count

    def decide(self, name: Name, qtype: int, wall: float) -> Verdict:
        """Whether `name` may be asked for with `qtype` at wall-clock time `wall` (epoch seconds)."""
        found, bare = self.listed.look_up(name)
        if bare > 0 and not found and self.listed.is_bare(name[bare:]):
            return UNLISTED_BELOW[bare]  # nearly every name that a stranger thinks up
        if qtype in SERVICE_TYPES and (service_of := service_parent(name)):
            found = union(found, self.listed.match(service_of))
        if not found:
            above = self.listed.lists_below_unlisted(name) or name[1:2] == b"_"
            return UNLISTED_ABOVE if above and self._names_below(name, wall) else UNLISTED
        kept = self._without_excepted(name, qtype, found) if self.excepted.count else found
        known = self._allowed.get((kept, qtype))
        if known is not None and (known.until is None or wall < known.until):
            return known
        live = self._live(kept, wall) if kept else ()
        if not live:
            return self._deny(name, found, kept, wall)
        verdict = _verdict(live, qtype)
        if verdict.outcome is Outcome.ALLOWED and len(live) == len(kept):
            # Good for every time before `until`: no rule of `kept` was left out for its age.
            self._allowed[kept, qtype] = verdict
        return verdict

    def is_above(self, name: Name, wall: float) -> bool:
        """Whether a rule in force lists `name` or some name below it: its zone may be one that signs them."""
        found = self.listed.match(name)
        kept = self._without_excepted(name, 0, found) if found and self.excepted.count else found
        return bool(kept and self._live(kept, wall)) or self._names_below(name, wall)

    def derive(self, name: Name, qtype: int, wall: float, rules: Sequence[Rule]) -> Verdict | None:
        """What `rules`, whose answers led to the unlisted `name`, say of it; None when none has a say.

        As of a name that they list: their exceptions, expiries and types hold, and nobody else's.
        """
        live = tuple([rule for rule in self._unexcepted(name, rules) if not rule.expired(wall)])
        return _verdict(live, qtype) if live else None

    def may_lead(self, target: Name, rules: Sequence[Rule]) -> bool:
        """Whether a client may ask for `target` once an answer under `rules` has named it."""
        listing = [self.rules[index] for index in self.listed.match(target)]
        if listing and self._unexcepted(target, listing):
            return True
        return may_be_derived(target) and bool(self._unexcepted(target, rules))

    def leaves(self, rule: Rule, name: Name) -> bool:
        """Whether `rule` neither lists nor excepts the name, so that its answers may lead there."""
        return rule.index not in self.listed.match(name) and bool(self._unexcepted(name, (rule,)))

    def lists(self, rule: Rule, name: Name) -> bool:
        """Whether `rule` lists the name and does not except it."""
        return rule.index in self.listed.match(name) and bool(self._unexcepted(name, (rule,)))

    def lists_all_below(self, rule: Rule) -> tuple[Name, ...]:
        """Domains below which `rule` lists every name, as far as they are few and without wildcards."""
        deep = self.listed.deep.literal
        if len(deep) > _FEW:
            return ()
        return tuple([name for name, rules in deep.items() if rule.index in rules])

    def _unexcepted(self, name: Name, rules: Sequence[Rule]) -> Sequence[Rule]:
        taken = self.excepted.match(name) if self.excepted.count else ()
        return [rule for rule in rules if rule.index not in taken] if taken else rules

    def explain(self, name: Name, qtype: int, wall: float) -> tuple[RuleTrace, ...]:
        """What each rule that lists `name` makes of the question, in the rules' order."""
        service_of = service_parent(name) if qtype in SERVICE_TYPES else None
        names = (name, service_of) if service_of else (name,)
        return trace(self.rules, self.listed, self.excepted, names, qtype, wall)

    def _without_excepted(self, name: Name, qtype: int, found: RuleSet) -> RuleSet:
        taken = self.excepted.match(name)
        if qtype in SERVICE_TYPES and (service_of := service_parent(name)):
            taken = union(taken, self.excepted.match(service_of))
        return tuple(index for index in found if index not in taken) if taken else found

    def _live(self, indexes: RuleSet, wall: float) -> tuple[Rule, ...]:
        return tuple(self.rules[index] for index in indexes if not self.rules[index].expired(wall))

    def _deny(self, name: Name, found: RuleSet, kept: RuleSet, wall: float) -> Verdict:
        reason = self._denial(name, found, kept, wall)
        return Verdict(Outcome.DENIED, (), reason, self._names_below(name, wall))

    def _denial(self, name: Name, found: RuleSet, kept: RuleSet, wall: float) -> str:
        """Why the rules `found`, which list the name, deny it; an exception says more than an expiry."""
        excepting = self._live(tuple(index for index in found if index not in kept), wall)
        if excepting:
            return _with_reason(f"rule {excepting[0].name} excepts {to_text(name)}", excepting[0])
        rule = self.rules[found[0]]
        return _with_reason(f"rule {rule.name} expired on {_last_day(rule)}", rule)

    def _names_below(self, name: Name, wall: float) -> bool:
        """Whether a rule in force lists a name below `name`.

        An exception counts when it takes away all that lies below; single names that exceptions
        take away are not looked for, since NODATA where NXDOMAIN would do harms nobody.
        """
        below = self.listed.match_some_below(name)
        if name[0] and name[1] == _UNDERSCORE:
            # "_tcp.NAME" is above "_sip._tcp.NAME", which may be asked for under NAME's rule.
            below = union(below, self.listed.match(name[name[0] + 1 :]))
        if below and self.excepted.count:
            taken = self.excepted.match_all_below(name)
            below = tuple(index for index in below if index not in taken)
        return any(not self.rules[index].expired(wall) for index in below)


@dataclass(slots=True)
class PolicyBuilder:
    """Takes rules and their patterns one by one, so that long lists stream in without a second copy."""

    _rules: list[Rule] = field(default_factory=list)
    _listed: Index = field(default_factory=_listing)
    _excepted: Index = field(default_factory=Index)

    def add_rule(
        self,
        name: str,
        *,
        ports: tuple[PortRange, ...] = _HTTPS_PORT,
        users: tuple[int, ...] = (),
        types: frozenset[int] = DEFAULT_TYPES,
        private: tuple[Network, ...] = (),
        reason: str = "",
        owner: str = "",
        expires_at: float | None = None,
    ) -> Rule:
        """A new rule, numbered in the order of the calls."""
        for number in types:
            if not is_data_type(number):
                raise ValueError(f'expected record types that hold data, got "{type_text(number)}"')
        rule = Rule(len(self._rules), name, ports, users, types, private, reason, owner, expires_at)
        self._rules.append(rule)
        return rule

    def add_pattern(self, rule: Rule, pattern: Pattern) -> None:
        """Let `rule` list what `pattern` matches."""
        self._listed.add(rule.index, pattern)

    def add_names(self, rule: Rule, names: Iterable[Name]) -> None:
        """Let `rule` list these names and nothing below them."""
        self._listed.add_names(rule.index, names)

    def add_exception(self, rule: Rule, pattern: Pattern) -> None:
        """Take what `pattern` matches away from `rule`, and from no other."""
        self._excepted.add(rule.index, pattern)

    def set_apart(self, names: Iterable[Name]) -> None:
        """Of names below these, something else may be said than of their neighbours (`Verdict.kin`)."""
        for name in names:
            self._listed.set_apart(name)

    def build(self) -> Policy:
        """The policy; the builder must not be used after.

        What is not a rule's to list is taken away from those that list it: nothing need be looked
        for in the names that rules allow.
        """
        for name in UNLISTABLE:
            for rule in union(self._listed.match(name), self._listed.match_some_below(name)):
                self._excepted.add(rule, Pattern(labels(name), apex=True, below=True))
        return Policy(tuple(self._rules), self._listed, self._excepted)


def service_parent(name: Name) -> Name | None:
    """NAME of `_service._proto.NAME` (RFC 2782), `_port._scheme.NAME` (RFC 9460); None for any other name."""
    first = name[0]
    if not first or name[1] != _UNDERSCORE:
        return None
    second = first + 1
    if not name[second] or name[second + 1] != _UNDERSCORE:
        return None
    parent = name[second + 1 + name[second] :]
    return parent if parent != ROOT else None


def _verdict(live: tuple[Rule, ...], qtype: int) -> Verdict:
    allowing = tuple(rule for rule in live if qtype in rule.types)
    expiries = [rule.expires_at for rule in allowing or live if rule.expires_at is not None]
    until = min(expiries, default=None)
    if allowing:
        return Verdict(Outcome.ALLOWED, allowing, until=until)
    reason = _with_reason(f"rule {live[0].name} does not allow type {type_text(qtype)}", live[0])
    return Verdict(Outcome.FILTERED, live, reason, until=until)


def _with_reason(text: str, rule: Rule) -> str:
    return f"{text} ({rule.reason})" if rule.reason else text


def _last_day(rule: Rule) -> str:
    if rule.expires_at is None:
        return "no day"
    # `expires_at` is the midnight after the last day.
    return (date(1970, 1, 1) + timedelta(days=int(rule.expires_at // 86400) - 1)).isoformat()
