"""Which names are derived, under which rules, for how long, and how many. Read beside `derived.py`."""

from __future__ import annotations

import pytest

from dynallow.lease.grant import Grant
from dynallow.policy.names import Name, parse_name
from dynallow.policy.patterns import parse_pattern
from dynallow.policy.policy import Policy, PolicyBuilder
from dynallow.policy.rrtypes import parse_type
from dynallow.policy.verdict import Outcome, Verdict
from dynallow.resolver.derived import LABELS_MAX, STEPS_MAX, Derived, rooted

MIRROR, EDGE, OTHER = (parse_name(text) for text in ("mirror.example", "edge.cdn.example", "b.cdn.example"))
A, TXT, SRV = (parse_type(text) for text in ("A", "TXT", "SRV"))


def rules(
    *patterns: str, excepts: str = "", types: str = "A AAAA", expires_at: float | None = None
) -> Policy:
    """A rule for each pattern, r0, r1, …; the first one has the exception and the expiry."""
    builder = PolicyBuilder()
    for number, pattern in enumerate(patterns):
        rule = builder.add_rule(
            f"r{number}",
            types=frozenset(map(parse_type, types.split())),
            expires_at=None if number else expires_at,
        )
        builder.add_pattern(rule, parse_pattern(pattern))
        if excepts and not number:
            builder.add_exception(rule, parse_pattern(excepts))
    return builder.build()


ONE_RULE = rules("mirror.example")


class Table:
    """A table beside a policy, at a time that the test moves."""

    def __init__(self, policy: Policy = ONE_RULE, size: int = 10) -> None:
        self.policy, self.derived, self.now, self.wall = policy, Derived(size), 100.0, 5000.0

    def ask(self, name: Name, qtype: int = A) -> Verdict:
        denied = self.policy.decide(name, qtype, self.wall)
        if denied.outcome is not Outcome.DENIED:
            return denied
        return self.derived.decide(self.policy, denied, name, qtype, self.now, self.wall)

    def name(self, name: Name, *targets: Name, qtype: int = A, until: float = 200.0) -> list[Name]:
        """An answer to a question for `name` leads to `targets`."""
        verdict = self.ask(name, qtype)
        assert verdict.outcome is Outcome.ALLOWED
        return self.derived.note(self.policy, verdict, name, targets, self.now, until)

    def allows(self, name: Name, qtype: int = A) -> bool:
        return self.ask(name, qtype).outcome is Outcome.ALLOWED


def numbered(number: int) -> Name:
    return parse_name(f"t{number}.cdn.example")


# ---------------------------------------------------------------- from when to when


def test_decide_target_is_allowed_from_the_answer_that_names_it_until_its_end() -> None:
    table = Table()
    assert not table.allows(EDGE)
    assert table.name(MIRROR, EDGE, until=200.0) == [EDGE]
    verdict = table.ask(EDGE)
    assert [rule.name for rule in verdict.rules] == ["r0"]
    assert [(lead.root, lead.steps) for lead in verdict.leads] == [(MIRROR, 1)]
    table.now = 199.9
    assert table.allows(EDGE)
    table.now = 200.0
    assert not table.allows(EDGE)


def test_note_the_same_again_prolongs_and_never_shortens() -> None:
    table = Table()
    table.name(MIRROR, EDGE, until=200.0)
    assert table.name(MIRROR, EDGE, until=150.0) == []
    table.now = 199.0
    assert table.allows(EDGE)
    table.name(MIRROR, EDGE, until=300.0)
    table.now = 299.0
    assert table.allows(EDGE)


def test_decide_neighbours_and_names_below_a_derived_one_stay_denied() -> None:
    table = Table()
    table.name(MIRROR, EDGE)
    assert not any(map(table.allows, [OTHER, parse_name("x.edge.cdn.example"), parse_name("cdn.example")]))


def test_decide_ancestor_of_a_derived_name_is_no_data() -> None:
    table = Table()
    table.name(MIRROR, EDGE)
    assert table.ask(parse_name("cdn.example")).names_below
    assert not table.ask(parse_name("cdn2.example")).names_below


# ---------------------------------------------------------------- which rules


def test_decide_rules_types_hold_for_derived_names_as_for_listed_ones() -> None:
    table = Table()
    table.name(MIRROR, EDGE)
    assert table.ask(EDGE, TXT).outcome is Outcome.FILTERED


@pytest.mark.parametrize("excepts", ["edge.cdn.example", "*.cdn.example", ".cdn.example"])
def test_decide_exception_of_the_rule_wins_and_is_nobody_elses(excepts: str) -> None:
    table = Table(rules("mirror.example", excepts=excepts))
    table.name(MIRROR, EDGE)
    assert not table.allows(EDGE)
    table = Table(rules("*.cdn.example", "mirror.example", excepts="edge.cdn.example"))
    table.name(MIRROR, EDGE)
    assert [rule.name for rule in table.ask(EDGE).rules] == ["r1"]


def test_note_what_the_rule_excepts_takes_no_place_nor_does_a_reload_leave_it_one() -> None:
    """Else its ancestors would be told of, and its zone's keys be asked for."""
    excepting = rules("mirror.example", excepts=".cdn.example")
    table = Table(excepting)
    assert table.name(MIRROR, EDGE) == []
    assert not table.derived.is_at_or_above(EDGE)
    table = Table()
    table.name(MIRROR, EDGE)
    table.derived.follow(excepting)
    assert not table.derived.is_at_or_above(EDGE)


def test_decide_rule_that_expires_takes_its_derived_names_along() -> None:
    table = Table(rules("mirror.example", expires_at=5001.0))
    table.name(MIRROR, EDGE)
    assert table.ask(EDGE).until == 5001.0
    table.wall = 5001.0
    assert not table.allows(EDGE)


def test_decide_target_of_two_rules_is_under_both_each_with_its_own_listed_name() -> None:
    table = Table(rules("mirror.example", "other.example"))
    table.name(parse_name("other.example"), EDGE, until=150.0)
    table.name(MIRROR, EDGE, until=200.0)
    verdict = table.ask(EDGE)
    assert [rule.name for rule in verdict.rules] == ["r0", "r1"]
    assert [lead.root for lead in verdict.leads] == [MIRROR, parse_name("other.example")]
    table.now = 150.0
    assert [rule.name for rule in table.ask(EDGE).rules] == ["r0"]


def test_note_what_the_rule_lists_itself_needs_no_place() -> None:
    table = Table(rules(".example"))
    assert table.name(MIRROR, EDGE) == []
    table = Table(rules("*.example", excepts="edge.cdn.example"))
    assert table.name(MIRROR, EDGE) == []
    assert not table.allows(EDGE)
    assert len(table.derived) == 0


def test_note_apex_below_which_the_rule_lists_all_is_derived() -> None:
    table = Table(rules("*.example.org"))
    apex = parse_name("example.org")
    assert table.name(parse_name("www.example.org"), apex) == [apex]
    assert table.allows(apex)


def test_note_service_of_a_listed_name_leads_back_to_that_name() -> None:
    table = Table(rules("mirror.example", types="A SRV"))
    table.name(parse_name("_http._tcp.mirror.example"), EDGE, qtype=SRV)
    (lead,) = table.ask(EDGE).leads
    assert lead.root == MIRROR
    table = Table(rules("*.mirror.example", types="A SRV"))
    table.name(parse_name("_http._tcp.mirror.example"), EDGE, qtype=SRV)
    (lead,) = table.ask(EDGE).leads
    assert lead.root == parse_name("_http._tcp.mirror.example")


@pytest.mark.parametrize(
    "target",
    [".", "com", "localhost", "a.localhost", "x.onion", "use-application-dns.net", "1.2.0.192.in-addr.arpa"],
)
def test_note_what_nobody_lists_is_not_derived(target: str) -> None:
    table = Table()
    assert table.name(MIRROR, parse_name(target)) == []
    assert not table.allows(parse_name(target))


def test_note_name_of_too_many_labels_is_not_derived() -> None:
    table = Table()
    most = parse_name(".".join("x" * LABELS_MAX))
    assert table.name(MIRROR, most, b"\1x" + most) == [most]


# ---------------------------------------------------------------- names that derived names lead to


def test_note_derived_name_leads_on_under_the_same_listed_name() -> None:
    table = Table()
    table.name(MIRROR, EDGE)
    table.name(EDGE, OTHER, until=300.0)
    (lead,) = table.ask(OTHER).leads
    assert lead == (MIRROR, 300.0, 2)


def test_note_leads_no_further_than_so_many_answers() -> None:
    table = Table(size=100)
    table.name(MIRROR, numbered(1))
    for number in range(1, STEPS_MAX):
        table.name(numbered(number), numbered(number + 1))
    assert table.allows(numbered(STEPS_MAX))
    table.name(numbered(STEPS_MAX), numbered(STEPS_MAX + 1))
    assert not table.allows(numbered(STEPS_MAX + 1))


def test_note_two_names_that_name_each_other_do_not_live_for_ever() -> None:
    table = Table()
    table.name(MIRROR, EDGE, until=table.now + 10)
    rounds = 0
    while table.allows(EDGE):
        table.name(EDGE, OTHER, until=table.now + 10)
        table.now += 6
        if table.allows(OTHER):
            table.name(OTHER, EDGE, until=table.now + 10)
        rounds += 1
        assert rounds < 20
    assert not table.allows(OTHER) or table.now < 300


def test_rooted_grants_are_the_listed_names() -> None:
    table = Table(rules("mirror.example", "other.example"))
    table.name(MIRROR, EDGE)
    table.name(parse_name("other.example"), EDGE)
    made = [Grant(rule, (b"\xc0\0\2\1",), 60, EDGE) for rule in ("r1", "r0")]
    found = rooted(made, table.ask(EDGE), table.policy)
    assert [grant.name for grant in found] == [parse_name("other.example"), MIRROR]


# ---------------------------------------------------------------- how many


def test_note_more_than_the_cap_drops_the_one_named_longest_ago_and_counts_it() -> None:
    table = Table(size=3)
    for number in (1, 2, 3, 1, 4):
        table.name(MIRROR, numbered(number))
    assert [table.allows(numbered(number)) for number in (1, 2, 3, 4)] == [True, False, True, True]
    assert (table.derived.count("r0"), table.derived.evicted) == (3, {"r0": 1})


def test_note_cap_of_one_rule_is_not_at_the_cost_of_another() -> None:
    table = Table(rules("mirror.example", "other.example"), size=3)
    table.name(parse_name("other.example"), EDGE)
    table.name(MIRROR, *map(numbered, range(50)))
    assert table.allows(EDGE)
    assert (table.derived.count("r0"), table.derived.count("r1")) == (3, 1)


def test_sweep_forgets_what_has_ended_and_its_ancestors() -> None:
    table = Table(size=1000)
    table.name(MIRROR, *map(numbered, range(500)), until=150.0)
    table.name(MIRROR, EDGE, until=200.0)
    table.now = 150.0
    assert len(list(table.derived.sweep(table.now))) > 1
    assert (len(table.derived), table.derived.count("r0")) == (1, 1)
    assert table.ask(parse_name("cdn.example")).names_below
    list(table.derived.sweep(200.0))
    assert not table.ask(parse_name("cdn.example")).names_below


# ---------------------------------------------------------------- denials for whole domains


def test_decide_denial_for_a_domain_covers_no_derived_name() -> None:
    table = Table()
    stranger = parse_name("x.evil.cdn.test")
    whole = table.ask(stranger)
    assert stranger[whole.kin :] == parse_name("test")
    table.name(MIRROR, parse_name("a.good.cdn.test"))
    part = table.ask(stranger)
    assert stranger[part.kin :] == parse_name("evil.cdn.test")
    assert table.ask(parse_name("x.good.cdn.test")).kin == 0
    list(table.derived.sweep(1000.0))
    assert table.ask(stranger) == whole


# ---------------------------------------------------------------- another policy


def test_follow_keeps_what_the_same_rule_still_lists_the_root_of() -> None:
    table = Table(rules("mirror.example", "other.example"))
    table.name(MIRROR, EDGE)
    table.name(parse_name("other.example"), OTHER)
    table.policy = rules("m*.example")
    table.derived.follow(table.policy)
    assert (table.derived.count("r0"), table.derived.count("r1")) == (1, 0)
    table.policy = rules("new.example", "mirror.example")
    table.derived.follow(table.policy)
    assert not table.allows(EDGE)
    assert len(table.derived) == 0


def test_follow_same_policy_keeps_all() -> None:
    table = Table()
    table.name(MIRROR, EDGE)
    table.derived.follow(table.policy)
    assert table.allows(EDGE)
