"""Derived names: what the records of an approved name lead to may be asked for, while they live.

A client that is told `mirror.example CNAME edge.cdn.example`, or a target by SRV, HTTPS or SVCB, may
come back for the target. No rule lists it; so the answer that names it lets it be asked for, under the
rules that allowed the question. How long: as long as a lease that the same answer makes.

Pure: knows names, rules and verdicts; must not know records, sockets, clocks (time is an argument,
monotonic seconds) or replies. Invariants:
- A name is here because an answer to an allowed question named it: listed, or derived itself by at most
  `STEPS_MAX` answers, each of which lived when the next was asked for. Two names that name each other so
  keep nothing alive for good.
- Each rule has at most `NAMES_MAX`, the ones named longest ago go first: whoever owns an approved zone makes
  up as many targets as he likes (DESIGN's invariant 10). A constant, not a setting: a host that has more
  unlisted names in use under one rule should list them, and the metric says so.
- No denial that stands ready for all names below a domain (`Verdict.kin`) covers a name that is here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from dynallow.lease.grant import Grant
from dynallow.policy.names import ROOT, Name, labels
from dynallow.policy.policy import Policy, service_parent
from dynallow.policy.reserved import may_be_derived
from dynallow.policy.rules import Rule
from dynallow.policy.verdict import UNLISTED_ABOVE, UNLISTED_BELOW, Lead, Verdict

NAMES_MAX: Final = 1024
STEPS_MAX: Final = 11
LABELS_MAX: Final = 16
"""No honest target has as many; each costs an entry for every ancestor."""
_SLICE: Final = 50


class Derived:
    """Derived names by rule; what is known of each comes from the answer that holds longest."""

    def __init__(self, size: int = NAMES_MAX) -> None:
        self.size = size
        self.evicted: dict[str, int] = {}
        """By rule: how many names made room for others."""
        self.rules: dict[Name, tuple[Rule, ...]] = {}
        """Under which rules a name is derived, in their order; also just after the last of them has ended."""
        self._leads: dict[str, OrderedDict[Name, Lead]] = {}
        self._above: dict[Name, int] = {}
        """The ancestors of all of them, and how many, derived or such ancestors, stand right below each."""
        self._policy: Policy | None = None
        self._tails: dict[int, tuple[Name, ...]] = {}
        """By rule: the domains below which it lists everything, if these are few."""

    def __len__(self) -> int:
        return len(self.rules)

    def count(self, rule: str) -> int:
        """How many names are derived under a rule, ended ones that were not yet swept included."""
        return len(self._leads.get(rule, ()))

    # ------------------------------------------------------------ asked for

    def decide(
        self, policy: Policy, denied: Verdict, name: Name, qtype: int, now: float, wall: float
    ) -> Verdict:
        """What becomes of `denied`, the policy's own verdict on a question, when derived names count."""
        if name in self.rules and (leads := self.leads(name, now)):
            verdict = policy.derive(name, qtype, wall, [rule for rule, _ in leads])
            if verdict is not None:
                by_rule = {rule.index: lead for rule, lead in leads}
                return replace(verdict, leads=tuple([by_rule[rule.index] for rule in verdict.rules]))
        if name in self._above and not denied.names_below:
            # NXDOMAIN would deny the names below as well (RFC 8020).
            return replace(denied, names_below=True, kin=0) if denied.reason else UNLISTED_ABOVE
        if denied.kin and name[denied.kin :] in self._above:
            return UNLISTED_BELOW[self._kin(name, denied.kin)]
        return denied

    def leads(self, name: Name, now: float) -> list[tuple[Rule, Lead]]:
        """What leads to the name right now, in the rules' order."""
        found = ((rule, self._leads[rule.name][name]) for rule in self.rules.get(name, ()))
        return [(rule, lead) for rule, lead in found if lead.until > now]

    def is_at_or_above(self, name: Name) -> bool:
        """Whether the name is derived or an ancestor of one that is: its zone may have signed such a one."""
        return name in self.rules or name in self._above

    def _kin(self, name: Name, start: int) -> int:
        """Where the first ancestor from `start` downwards begins that no derived name lies below; 0: none."""
        starts = [0]
        while starts[-1] < start:
            starts.append(starts[-1] + name[starts[-1]] + 1)
        while start and name[start:] in self._above:
            starts.pop()
            start = starts[-1]
        return start

    # ------------------------------------------------------------ named

    def note(
        self,
        policy: Policy,
        verdict: Verdict,
        name: Name,
        targets: tuple[Name, ...],
        now: float,
        until: float,
    ) -> list[Name]:
        """Let `targets`, which the answer to an allowed question for `name` leads to, be asked for.

        Returns those of which from now on something else is said: a denial may stand ready for them.
        """
        if policy is not self._policy:
            self.follow(policy)
        fresh: list[Name] = []
        for at, rule in enumerate(verdict.rules):
            tails = self._tails.get(rule.index)
            if tails is None:
                tails = self._tails[rule.index] = policy.lists_all_below(rule)
            # Nearly all chains stay in one domain. Where a label holds its name's ending, nothing is derived.
            outside = [target for target in targets if not target.endswith(tails) or target in tails]
            if not outside:
                continue
            if verdict.leads:
                root, _, steps = verdict.leads[at]
                if steps >= STEPS_MAX:
                    continue
            else:
                root, steps = _listed(policy, rule, name), 0
            known = self._leads.get(rule.name)
            if known is None:
                known = self._leads[rule.name] = OrderedDict()
            lead = Lead(root, until, steps + 1)
            for target in outside:
                held = known.get(target)
                if held is not None:
                    if held.until <= now:
                        fresh.append(target)
                    if until >= held.until:
                        known[target] = lead
                        known.move_to_end(target)
                elif policy.leaves(rule, target) and self._put(rule, target, lead):
                    fresh.append(target)
        return fresh

    def _put(self, rule: Rule, target: Name, lead: Lead) -> bool:
        """Whether the name may be derived."""
        rules = self.rules.get(target)
        if rules is None:
            if not may_be_derived(target) or len(labels(target)) > LABELS_MAX:
                return False
            self._stand(target)
            self.rules[target] = (rule,)
        else:
            self.rules[target] = tuple(sorted((*rules, rule), key=_index))
        known = self._leads[rule.name]
        known[target] = lead
        while len(known) > self.size:
            self._drop(rule.name, next(iter(known)))
            self.evicted[rule.name] = self.evicted.get(rule.name, 0) + 1
        return True

    def _drop(self, rule: str, target: Name) -> None:
        del self._leads[rule][target]
        others = self.rules[target]
        if len(others) > 1:
            self.rules[target] = tuple([other for other in others if other.name != rule])
            return
        del self.rules[target]
        self._fall(target)

    def _stand(self, name: Name) -> None:
        """Count a name that comes to be here among those right below its parent, and so on upwards."""
        above, rules = self._above, self.rules
        count = above.get(name)
        while not count and (name := name[name[0] + 1 :]) != ROOT:
            count = above.get(name)
            above[name] = count + 1 if count else 1
            if name in rules:
                break

    def _fall(self, name: Name) -> None:
        """The reverse, for a name that is here no more."""
        above, rules = self._above, self.rules
        if name in above:
            return
        while (name := name[name[0] + 1 :]) != ROOT:
            count = above[name]
            if count > 1:
                above[name] = count - 1
                break
            del above[name]
            if name in rules:
                break

    # ------------------------------------------------------------ over a restart

    def held(self) -> list[tuple[str, Name, Lead]]:
        """All of them as (rule, name, lead), of each rule the one named longest ago first; at one stroke."""
        return [(rule, target, lead) for rule, known in self._leads.items() for target, lead in known.items()]

    def take_back(self, policy: Policy, rule: Rule, target: Name, lead: Lead) -> bool:
        """Let a name be asked for that an earlier agent derived, if it still may be and there is room."""
        if policy is not self._policy:
            self.follow(policy)
        known = self._leads.setdefault(rule.name, OrderedDict())
        return (
            0 < lead.steps <= STEPS_MAX
            and target not in known
            and len(known) < self.size
            and policy.lists(rule, lead.root)
            and policy.leaves(rule, target)
            and self._put(rule, target, lead)
        )

    # ------------------------------------------------------------ ended

    def follow(self, policy: Policy) -> None:
        """Keep to another policy: what a listed name led to stays if its rule still lists that name."""
        if policy is self._policy:
            return  # leases were taken away, not rules
        before, self._policy = self._leads, policy
        rules = {rule.name: rule for rule in policy.rules}
        self.rules, self._leads, self._above, self._tails = {}, {}, {}, {}
        self.evicted = {name: count for name, count in self.evicted.items() if name in rules}
        for name, known in before.items():
            rule = rules.get(name)
            if rule is None:
                continue
            self._leads[name] = OrderedDict()
            for target, lead in known.items():
                if policy.lists(rule, lead.root) and policy.leaves(rule, target):
                    self._put(rule, target, lead)

    def sweep(self, now: float) -> Iterator[None]:
        """Forget what has ended, a slice at each step."""
        for rule in list(self._leads):
            targets = list(self._leads[rule]) if rule in self._leads else []
            for start in range(0, len(targets), _SLICE):
                known = self._leads.get(rule)
                if known is None:  # the rules changed meanwhile
                    break
                for target in targets[start : start + _SLICE]:
                    lead = known.get(target)
                    if lead is not None and lead.until <= now:
                        self._drop(rule, target)
                yield


def rooted(grants: list[Grant], verdict: Verdict, policy: Policy) -> list[Grant]:
    """The grants of a derived name, or of a domain's service, as earned by the listed names behind them.

    So leases tell why they are there, and a reload or a restart judges them, as those of listed names.
    """
    if verdict.leads:
        roots = {rule.name: lead.root for rule, lead in zip(verdict.rules, verdict.leads, strict=True)}
        return [grant._replace(name=roots[grant.rule]) for grant in grants]
    rules = {rule.name: rule for rule in verdict.rules}
    return [grant._replace(name=_listed(policy, rules[grant.rule], grant.name)) for grant in grants]


def _listed(policy: Policy, rule: Rule, name: Name) -> Name:
    """The name that `rule` lists, which may be the domain whose service `name` is (RFC 2782)."""
    parent = service_parent(name)
    return parent if parent is not None and not policy.lists(rule, name) else name


def _index(rule: Rule) -> int:
    return rule.index
