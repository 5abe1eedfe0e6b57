"""Derived names are those that a plain list of all answers would give, however names, rules and time go."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from dynallow.policy.names import Name, parse_name
from dynallow.policy.patterns import parse_pattern
from dynallow.policy.policy import Policy, PolicyBuilder
from dynallow.policy.verdict import Outcome, Verdict
from dynallow.resolver.derived import STEPS_MAX, Derived

CAP = 4
ROOTS = [parse_name("a.root.example"), parse_name("b.root.example")]
TARGETS = [parse_name(f"{text}.example.net") for text in ("one", "two", "x.one", "cdn.two", "three", "four")]
NAMES = [*ROOTS, *TARGETS]

named = st.tuples(
    st.just("name"), st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=5), st.integers(0, 50)
)
passed = st.tuples(st.just("wait"), st.integers(1, 30))
swept = st.tuples(st.just("sweep"))
reloaded = st.tuples(st.just("rules"), st.sampled_from(["ab", "a", "b", "a-", "ba"]))


def policy(which: str) -> Policy:
    """Rules a and b of one root each; with "-", a excepts what lies below one.example.net."""
    builder = PolicyBuilder()
    for name in which.rstrip("-"):
        rule = builder.add_rule(name)
        builder.add_pattern(rule, parse_pattern(f"{name}.root.example"))
        if which.endswith("-"):
            builder.add_exception(rule, parse_pattern("*.one.example.net"))
    return builder.build()


@dataclass
class Model:
    """The same by going through lists."""

    which: str = "ab"
    now: int = 0
    held: dict[str, list[tuple[Name, Name, int, int]]] = field(default_factory=lambda: {"a": [], "b": []})
    """By rule, the one named longest ago first: target, root, end, steps."""

    def excepts(self, name: Name) -> bool:
        """Whether rule a, then the only one, takes the name away."""
        return self.which.endswith("-") and name == parse_name("x.one.example.net")

    def allowing(self, name: Name) -> dict[str, tuple[Name, int]]:
        """By rule: root and steps of a name that may be asked for."""
        listed = {
            rule: (name, 0) for rule in self.which.rstrip("-") if name == parse_name(f"{rule}.root.example")
        }
        if listed:
            return listed
        if self.excepts(name):
            return {}
        return {
            rule: (root, steps)
            for rule in self.which.rstrip("-")
            for target, root, end, steps in self.held[rule]
            if target == name and end > self.now
        }

    def note(self, name: Name, targets: list[Name], ttl: int) -> None:
        for rule, (root, steps) in self.allowing(name).items():
            for target in targets:
                held = next((one for one in self.held[rule] if one[0] == target), None)
                if steps >= STEPS_MAX or target == parse_name(f"{rule}.root.example"):
                    continue
                if self.excepts(target):
                    continue
                if held is not None and held[2] > self.now + ttl:
                    continue
                self.held[rule] = [one for one in self.held[rule] if one[0] != target]
                self.held[rule].append((target, root, self.now + ttl, steps + 1))
                self.held[rule] = self.held[rule][-CAP:]

    def change(self, which: str) -> None:
        self.which = which
        for rule in "ab":
            if rule not in which:
                self.held[rule] = []
            self.held[rule] = [one for one in self.held[rule] if not self.excepts(one[0])]

    def sweep(self) -> None:
        for rule, held in self.held.items():
            self.held[rule] = [one for one in held if one[2] > self.now]


def ask(derived: Derived, rules: Policy, name: Name, now: int) -> Verdict:
    verdict = rules.decide(name, 1, 0.0)
    return verdict if verdict.rules else derived.decide(rules, verdict, name, 1, now, 0.0)


@given(st.lists(named | passed | swept | reloaded, max_size=40))
def test_derived_any_course_of_events_allows_what_the_list_of_answers_says(
    events: list[tuple[object, ...]],
) -> None:
    derived, model, rules = Derived(CAP), Model(), policy("ab")
    for event in events:
        match event:
            case ("name", bytes() as name, list() as targets, int() as ttl):
                verdict = ask(derived, rules, name, model.now)
                if verdict.outcome is Outcome.ALLOWED:
                    derived.note(rules, verdict, name, tuple(targets), model.now, model.now + ttl)
                model.note(name, targets, ttl)
            case ("wait", int() as seconds):
                model.now += seconds
            case ("rules", str() as which):
                rules = policy(which)
                derived.follow(rules)
                model.change(which)
            case _:
                list(derived.sweep(model.now))
                model.sweep()
        for name in NAMES:
            verdict = ask(derived, rules, name, model.now)
            found = {rule.name: lead.root for rule, lead in zip(verdict.rules, verdict.leads, strict=False)}
            expected = {} if name in ROOTS and verdict.rules and not verdict.leads else model.allowing(name)
            assert found == {rule: root for rule, (root, _) in expected.items()}
            assert not (
                verdict.kin and any(_is_below(target, name[verdict.kin :]) for target in derived.rules)
            )
        above = {name[at:] for name in derived.rules for at in _starts(name)[1:]}
        assert derived._above.keys() == above
        assert all(derived.count(rule) == len(model.held[rule]) <= CAP for rule in "ab")


def _starts(name: Name) -> list[int]:
    """Where its labels begin."""
    starts = [0]
    while name[starts[-1] + name[starts[-1]] + 1]:
        starts.append(starts[-1] + name[starts[-1]] + 1)
    return starts


def _is_below(name: Name, ancestor: Name) -> bool:
    while name != b"\0":
        name = name[name[0] + 1 :]
        if name == ancestor:
            return True
    return False
