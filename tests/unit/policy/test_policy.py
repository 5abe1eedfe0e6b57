"""Verdicts: exceptions, expiry, types, reasons, and what lies below a denied name."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dynallow.policy import Outcome, Policy, PolicyBuilder, Rule, Verdict, parse_name, parse_pattern
from dynallow.policy.rrtypes import ANY, HTTPS, SRV, SVCB, TXT, A
from dynallow.settings.compile import end_of_day

NOON = datetime(2027, 1, 31, 12, tzinfo=UTC).timestamp()
MIDNIGHT = datetime(2027, 2, 1, tzinfo=UTC).timestamp()


class Draft:
    """Builds a policy from texts."""

    def __init__(self) -> None:
        self.builder = PolicyBuilder()

    def rule(self, name: str, *patterns: str, minus: tuple[str, ...] = (), **more: object) -> Draft:
        rule: Rule = self.builder.add_rule(name, **more)  # type: ignore[arg-type]
        for text in patterns:
            self.builder.add_pattern(rule, parse_pattern(text))
        for text in minus:
            self.builder.add_exception(rule, parse_pattern(text))
        return self

    def build(self) -> Policy:
        return self.builder.build()


def decide(policy: Policy, name: str, qtype: int = A, wall: float = NOON) -> Verdict:
    return policy.decide(parse_name(name), qtype, wall)


def names(verdict: Verdict) -> list[str]:
    return [rule.name for rule in verdict.rules]


def test_decide_empty_policy_denies_everything() -> None:
    verdict = decide(Policy(), "example.org")
    assert verdict.outcome is Outcome.DENIED
    assert verdict.why_not(parse_name("example.org")) == "no rule allows example.org"
    assert not verdict.names_below
    assert decide(Policy(), ".").outcome is Outcome.DENIED


def test_decide_not_a_label_boundary_is_denied() -> None:
    policy = Draft().rule("r", ".example.org").build()
    assert decide(policy, "example.org").outcome is Outcome.ALLOWED
    assert decide(policy, "notexample.org").outcome is Outcome.DENIED
    assert policy.decide(b"\x0bnot.example\x03org\0", A, NOON).outcome is Outcome.DENIED


def test_decide_every_rule_that_lists_the_name_applies() -> None:
    policy = (
        Draft()
        .rule("exact", "a.example.org")
        .rule("deep", "*.example.org")
        .rule("wild", "*.*.org", "a*.example.org")
        .rule("other", "b.example.org")
        .build()
    )
    assert names(decide(policy, "a.example.org")) == ["exact", "deep", "wild"]
    assert names(decide(policy, "b.example.org")) == ["deep", "wild", "other"]


def test_decide_exception_takes_the_name_from_its_rule_only() -> None:
    policy = (
        Draft().rule("one", "*.example.org", minus=("t.example.org",)).rule("two", "t.example.org").build()
    )
    assert names(decide(policy, "t.example.org")) == ["two"]
    assert names(decide(policy, "x.example.org")) == ["one"]


def test_decide_excepted_name_says_which_rule_and_why() -> None:
    policy = Draft().rule("os", ".example.org", minus=(".t.example.org",), reason="OS updates").build()
    verdict = decide(policy, "a.t.example.org")
    assert verdict.reason == "rule os excepts a.t.example.org (OS updates)"
    # All below is taken away too, so nothing allowed lies there.
    assert not verdict.names_below
    assert decide(policy, "t.example.org").names_below is False


def test_decide_single_excepted_name_still_has_names_below() -> None:
    policy = Draft().rule("os", ".example.org", minus=("t.example.org",)).build()
    assert decide(policy, "t.example.org").names_below
    assert decide(policy, "a.t.example.org").outcome is Outcome.ALLOWED


def test_decide_type_not_listed_is_filtered() -> None:
    policy = Draft().rule("r", "example.org", reason="updates").build()
    verdict = decide(policy, "example.org", TXT)
    assert (verdict.outcome, names(verdict)) == (Outcome.FILTERED, ["r"])
    assert verdict.reason == "rule r does not allow type TXT (updates)"
    assert decide(policy, "example.org", ANY).outcome is Outcome.FILTERED


def test_decide_type_of_one_rule_leaves_the_others_out() -> None:
    policy = Draft().rule("a", "example.org").rule("t", "example.org", types=frozenset({TXT})).build()
    assert names(decide(policy, "example.org", A)) == ["a"]
    assert names(decide(policy, "example.org", TXT)) == ["t"]


@pytest.mark.parametrize("number", [0, 41, 128, 252, 255, 65535])
def test_add_rule_type_without_data_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="expected record types that hold data"):
        PolicyBuilder().add_rule("r", types=frozenset({number}))


def test_decide_rule_expires_at_the_end_of_its_day() -> None:
    day = datetime(2027, 1, 31, tzinfo=UTC).date()
    assert end_of_day(day) == MIDNIGHT
    policy = Draft().rule("r", ".example.org", expires_at=end_of_day(day)).build()
    for wall in (NOON, MIDNIGHT - 0.001, NOON):
        verdict = decide(policy, "example.org", wall=wall)
        assert (verdict.outcome, verdict.until) == (Outcome.ALLOWED, MIDNIGHT)
    for wall in (MIDNIGHT, MIDNIGHT + 1):
        verdict = decide(policy, "example.org", wall=wall)
        assert (verdict.outcome, verdict.reason) == (Outcome.DENIED, "rule r expired on 2027-01-31")
        assert not verdict.names_below
    # The clock was wrong and is set back.
    assert decide(policy, "example.org", wall=NOON).outcome is Outcome.ALLOWED


def test_decide_expired_rule_leaves_the_others_in_force() -> None:
    policy = Draft().rule("old", "example.org", expires_at=MIDNIGHT).rule("new", "example.org").build()
    assert names(decide(policy, "example.org", wall=NOON)) == ["old", "new"]
    assert names(decide(policy, "example.org", wall=MIDNIGHT)) == ["new"]
    assert names(decide(policy, "example.org", wall=NOON)) == ["old", "new"]


@pytest.mark.parametrize(
    ("pattern", "above", "beside"),
    [
        (
            "a.b.example.org",
            ["b.example.org", "example.org", "org", "."],
            ["x.example.org", "z.a.b.example.org"],
        ),
        ("*.b.example.org", ["b.example.org", "example.org"], ["x.example.org"]),
        ("s3.*.example.org", ["eu.example.org", "example.org"], ["example.com", "a.b.example.org"]),
        ("x.m-*.example.org", ["m-1.example.org", "example.org"], ["n-1.example.org"]),
    ],
)
def test_decide_denied_name_knows_whether_names_lie_below(
    pattern: str, above: list[str], beside: list[str]
) -> None:
    policy = Draft().rule("r", pattern).build()
    assert [name for name in above if not decide(policy, name).names_below] == []
    assert [name for name in beside if decide(policy, name).names_below] == []


def test_decide_names_of_expired_rules_do_not_count_as_below() -> None:
    policy = Draft().rule("r", "a.example.org", expires_at=MIDNIGHT).build()
    assert decide(policy, "example.org", wall=NOON).names_below
    assert not decide(policy, "example.org", wall=MIDNIGHT).names_below


def test_decide_service_name_is_under_the_rule_of_its_domain_for_services_alone() -> None:
    policy = Draft().rule("r", "example.org", minus=("x.example.org",)).build()
    assert decide(policy, "_ldap._tcp.example.org", SRV).outcome is Outcome.ALLOWED
    assert decide(policy, "_8443._https.example.org", HTTPS).outcome is Outcome.ALLOWED
    assert decide(policy, "_8443._foo.example.org", SVCB).outcome is Outcome.ALLOWED
    assert decide(policy, "_8443._https.x.example.org", HTTPS).outcome is Outcome.DENIED
    assert decide(policy, "_ldap._tcp.example.org", A).outcome is Outcome.DENIED
    assert decide(policy, "_ldap.example.org", SRV).outcome is Outcome.DENIED
    assert decide(policy, "_ldap._tcp.other.org", SRV).outcome is Outcome.DENIED
    assert decide(policy, "_tcp.example.org", SRV).names_below


def test_decide_service_name_of_an_excepted_domain_is_denied() -> None:
    policy = Draft().rule("r", ".example.org", minus=("x.example.org",)).build()
    assert decide(policy, "_ldap._tcp.x.example.org", SRV).outcome is Outcome.DENIED


def test_decide_questions_leave_no_trace_for_names_that_are_not_listed() -> None:
    policy = Draft().rule("r", ".example.org").build()
    for number in range(1000):
        decide(policy, f"n{number}.example.com", qtype=number)
        decide(policy, f"n{number}.example.org")
        decide(policy, "example.org", qtype=number)
    assert len(policy._allowed) <= len(policy.rules[0].types)


def test_explain_names_pattern_exception_and_outcome_of_each_rule() -> None:
    policy = (
        Draft()
        .rule("exact", "a.example.org")
        .rule("deep", ".example.org", minus=("a.*.org",))
        .rule("wild", "*.*.org", types=frozenset({TXT}))
        .rule("old", "a*.example.org", expires_at=MIDNIGHT)
        .rule("other", "b.example.org")
        .build()
    )
    traces = policy.explain(parse_name("a.example.org"), A, MIDNIGHT)
    assert [(trace.rule.name, trace.pattern, trace.exception, trace.outcome) for trace in traces] == [
        ("exact", "a.example.org", None, "allows"),
        ("deep", ".example.org", "a.*.org", "excepted"),
        ("wild", "*.*.org", None, "filtered"),
        ("old", "a*.example.org", None, "expired"),
    ]


def test_count_is_the_number_of_patterns() -> None:
    assert Draft().rule("a", "x.example", "*.x.example").rule("b", ".y.example").build().count == 3


@given(
    st.one_of(st.integers(0, 2**32 - 1).map(IPv4Address), st.integers(0, 2**128 - 1).map(IPv6Address)),
    st.lists(
        st.sampled_from(["10.0.0.0/8", "192.168.7.0/24", "fd00::/8", "10.1.2.3/32", "::/0"]), max_size=3
    ),
)
@example(IPv4Address("10.255.255.255"), ["10.0.0.0/8"])
@example(IPv4Address("11.0.0.0"), ["10.0.0.0/8"])
@example(IPv6Address("fd00::1"), ["10.0.0.0/8", "fd00::/8"])
def test_opens_is_what_ipaddress_says(address: IPv4Address | IPv6Address, prefixes: list[str]) -> None:
    networks = tuple(ip_network(text) for text in prefixes)
    rule = Rule(0, "web", private=networks)
    expected = any(network.version == address.version and address in network for network in networks)
    assert rule.opens(address.packed) is expected
