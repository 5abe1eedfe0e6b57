"""What settings make of a record: would they allow what it tells of, under which rules, and if not why.

Knows records, the policy and destinations. Must not know who asks, nor what follows from it.
Keeps: what a record of these very settings says is what comes out for it (`tests/property/test_replay.py`);
what a record does not tell enough to judge comes out as it was recorded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal, NamedTuple

from dynallow.policy.names import Name, parse_name
from dynallow.policy.policy import Policy
from dynallow.policy.reserved import reserved
from dynallow.policy.rrtypes import AAAA, A, parse_type
from dynallow.policy.rules import Rule
from dynallow.policy.special import is_acceptable
from dynallow.policy.verdict import ALLOWED, FILTERED, Verdict
from dynallow.settings import Destination, Loaded
from dynallow.settings.force import DNS_PORTS
from dynallow.units import PortRange, parse_port
from dynallow.usage.record import Decision, Record, Subject, Why

Reason = Why | Literal["private", "protocol"]
"""A record's, and: the address is special and no rule names its prefix; neither TCP nor UDP."""


class Ruling(NamedTuple):
    """`rules`: those that allow it; of what is denied, those that come nearest (they list the name)."""

    decision: Decision
    why: Reason = ""
    rules: tuple[str, ...] = ()


class Court:
    """Judges records by one policy at one moment."""

    def __init__(self, loaded: Loaded, wall: float, records: Iterable[Record] = ()) -> None:
        """`records`: all there are; which rules a name's questions went by helps to judge its flows."""
        self.policy: Policy = loaded.policy
        self.wall = wall
        self._rules = {rule.name: rule for rule in loaded.policy.rules}
        self._destinations = loaded.settings.destinations
        self._asked_under: dict[str, set[str]] = defaultdict(set)
        """The rules by which a name was asked for; of a denied one none."""
        self._derived: set[str] = set()
        for subject, *_ in records:
            if subject.kind == "question":
                self._asked_under[subject.name].update(
                    _named(subject) if subject.decision == "allowed" else ()
                )
                if subject.why == "derived":
                    self._derived.add(subject.name)

    def judge(self, subject: Subject) -> Ruling:
        """What these settings say, in mode `enforce`, of what the record tells."""
        return self._question(subject) if subject.kind == "question" else self._flow(subject)

    def _listing(self, verdict: Verdict, name: Name, qtype: int) -> Mapping[str, str]:
        """What each rule that lists the denied name makes of it: "excepted" or "expired"."""
        if not verdict.reason:
            return {}  # no rule lists it; to find that out again would cost a look at each of them
        return {each.rule.name: each.outcome for each in self.policy.explain(name, qtype, self.wall)}

    def is_derived(self, name: str) -> bool:
        """Whether it was asked for as a name that records of a listed one led to."""
        return name in self._derived

    def is_rule(self, name: str) -> bool:
        """Whether a rule is called so."""
        return name in self._rules

    def was_denied(self, name: str) -> bool:
        """Whether it was asked for, and never allowed."""
        return self._asked_under.get(name) == set()

    def rules_of(self, name: str, address: str) -> tuple[str, ...]:
        """The rules that would lease the address for the name."""
        try:
            verdict = self.policy.decide(parse_name(name), AAAA if ":" in address else A, self.wall)
        except ValueError:
            return ()
        return tuple([rule.name for rule in verdict.rules]) if verdict.outcome is ALLOWED else ()

    def _question(self, subject: Subject) -> Ruling:
        as_it_was = Ruling(subject.decision, subject.why, _named(subject))
        if subject.why == "reserved" or (subject.decision == "allowed" and not subject.rule):
            return as_it_was  # answered here, or a zone's keys: no rule's doing
        try:
            name, qtype = parse_name(subject.name), parse_type(subject.qtype)
        except ValueError:
            return as_it_was
        if reserved(name) is not None:
            return Ruling("denied", "reserved")
        verdict = self.policy.decide(name, qtype, self.wall)
        rules = tuple([rule.name for rule in verdict.rules])
        if verdict.outcome is ALLOWED:
            return Ruling("allowed", "", rules)
        if verdict.outcome is FILTERED:
            return Ruling("filtered", "type", rules)
        listing = self._listing(verdict, name, qtype)
        if not listing and subject.why == "derived" and (derived := self._derive(subject, name, qtype)):
            return derived
        return Ruling("denied", _unlisted(listing.values()) or "not-listed", tuple(listing))

    def _derive(self, subject: Subject, name: Name, qtype: int) -> Ruling | None:
        """Of a name that records of a listed one led to: what the rules that are still there say of it."""
        rules = [rule for each in _named(subject) if (rule := self._rules.get(each))]
        verdict = self.policy.derive(name, qtype, self.wall, rules)
        if verdict is None:
            return None
        outcome: Decision = "allowed" if verdict.outcome is ALLOWED else "filtered"
        return Ruling(outcome, "" if outcome == "allowed" else "type", tuple([r.name for r in verdict.rules]))

    def _flow(self, subject: Subject) -> Ruling:
        try:
            address, port = ip_address(subject.address), parse_port(subject.port)
        except ValueError:
            # What has no ports no rule opens: what was let out, something else did.
            why: Reason = "protocol" if subject.decision == "denied" else ""
            return Ruling(subject.decision, why, _named(subject))
        if subject.decision == "allowed" and not subject.rule and not subject.name:
            return Ruling("allowed")  # nobody knows by what
        if port.first in DNS_PORTS:
            return Ruling("denied", "dns") if subject.decision == "denied" else Ruling("allowed")
        near: list[tuple[str, Reason]] = []
        for destination in self._destinations:
            if holds(destination, address):
                if opens(destination, port, subject.user):
                    return Ruling("allowed", "", (destination.name,))
                near.append((destination.name, _short_of(destination, port)))
        return self._by_name(subject, address, port, near)

    def _by_name(
        self,
        subject: Subject,
        address: IPv4Address | IPv6Address,
        port: PortRange,
        near: list[tuple[str, Reason]],
    ) -> Ruling:
        why, rules = self._rules_for(subject, A if address.version == 4 else AAAA)
        fitting = [rule for rule in rules if is_acceptable(address.packed, rule.private, ())]
        opening = tuple([rule.name for rule in fitting if opens(rule, port, subject.user)])
        if opening and subject.why != "lapsed":
            return Ruling("allowed", "", opening)
        if opening:
            return Ruling("denied", "lapsed", opening)
        if rules and not fitting:
            return Ruling("denied", "private", tuple([rule.name for rule in rules]))
        near += [(rule.name, _short_of(rule, port)) for rule in fitting]
        for wanted in ("user", "port"):
            if names := tuple([name for name, short in near if short == wanted]):
                return Ruling("denied", wanted, names)
        return Ruling("denied", why)

    def _rules_for(self, subject: Subject, qtype: int) -> tuple[Reason, Sequence[Rule]]:
        """Whose leases may hold the flow's address; and if there are none, why not."""
        own = [
            rule
            for each in _named(subject)
            if (rule := self._rules.get(each)) and not rule.expired(self.wall)
        ]
        if not subject.name:
            return "no-name", own
        try:
            name = parse_name(subject.name)
        except ValueError:
            return "no-name", ()
        verdict = self.policy.decide(name, qtype, self.wall)
        listing = verdict.rules if verdict.outcome is ALLOWED else ()
        if own and not set(own) & set(listing):
            under = self._asked_under.get(subject.name)
            if under is not None and under.isdisjoint(_named(subject)):
                # The name gave the address too, but it was another one that earned it the rule's lease.
                return "", (*listing, *own)
            if not listing and subject.name in self._derived:
                derived = self.policy.derive(name, qtype, self.wall, own)
                return "", derived.rules if derived is not None else ()
        if listing:
            return "", listing
        if verdict.outcome is FILTERED:
            return "type", ()
        return _unlisted(self._listing(verdict, name, qtype).values()) or "name", ()


def holds(destination: Destination, address: IPv4Address | IPv6Address) -> bool:
    """Whether the address lies in one of its prefixes."""
    return any(network.version == address.version and address in network for network in destination.addresses)


def opens(section: Rule | Destination, port: PortRange, user: int | None) -> bool:
    """Whether it opens its addresses on this port to this user; a packet without one is nobody's."""
    return _short_of(section, port) == "" or (_short_of(section, port) == "user" and user in section.users)


def _short_of(section: Rule | Destination, port: PortRange) -> Reason:
    """What a flow to the port can still fail by; "" when its users are everybody."""
    if not any(port in each for each in section.ports):
        return "port"
    return "user" if section.users else ""


def _unlisted(outcomes: Collection[str]) -> Literal["", "excepted", "expired"]:
    """Why rules that list a name do not allow it; an exception says more than an expiry."""
    if not outcomes:
        return ""
    return "excepted" if "excepted" in outcomes else "expired"


def _named(subject: Subject) -> tuple[str, ...]:
    return tuple(subject.rule.split(",")) if subject.rule else ()
