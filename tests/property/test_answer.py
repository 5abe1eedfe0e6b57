"""Whatever an upstream answers, no address is told that is not granted, and none granted that is not told.

In enforce mode every granted address is acceptable to its rule. The responses are dnspython's.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from dynallow.errors import WireError
from dynallow.lease.grant import Limits, lifetime
from dynallow.policy.names import parse_name
from dynallow.policy.rules import Rule
from dynallow.policy.special import is_acceptable
from dynallow.policy.verdict import Outcome, Verdict
from dynallow.resolver.answer import Answer, Scope, aged, compose, grants, without
from dynallow.wire import svcb
from dynallow.wire.chain import walk
from tests.unit.resolver.responses import CDN, DEB, EDGE, SOA, response

TYPES = {"A": 1, "AAAA": 28, "HTTPS": 65}
NAME = parse_name(DEB)
OWN = ip_address("198.51.100.9").packed
FOURS = ["192.0.2.1", "192.0.2.2", "198.51.100.9", "10.0.0.1", "127.0.0.1", "169.254.169.254", "203.0.113.7"]
SIXES = [
    "2001:db8::1",
    "2001:db8::2",
    "::1",
    "fd00::1",
    "::ffff:192.0.2.1",
    "64:ff9b::a00:1",
    "2002:a00:1::1",
]

owners = st.sampled_from([DEB, CDN, EDGE, "evil.example.com"])
ttls = st.sampled_from([0, 1, 59, 300, 86400, 604800, 2**31 - 1])
rules = st.lists(
    st.sampled_from(
        [
            Rule(0, "web"),
            Rule(1, "lan", private=(ip_network("10.0.0.0/8"),)),
            Rule(2, "six", private=(ip_network("fc00::/7"), ip_network("::1/128"))),
        ]
    ),
    unique_by=lambda rule: rule.index,
)


def _values(of: list[str]) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(of), min_size=1, max_size=5, unique=True).map(" | ".join)


@st.composite
def _https(draw: st.DrawFn) -> str:
    four = ",".join(draw(st.lists(st.sampled_from(FOURS), max_size=3, unique=True)))
    six = ",".join(draw(st.lists(st.sampled_from(SIXES), max_size=3, unique=True)))
    target = draw(st.sampled_from([".", f"{DEB}.", f"{CDN}."]))
    hints = (f" ipv4hint={four}" if four else "") + (f" ipv6hint={six}" if six else "")
    ech = draw(st.sampled_from(["", " ech=AAT+DQAA"]))
    priority = draw(st.integers(0, 3))
    return f"{priority} {target}" + (f" alpn=h2{hints}{ech}" if priority else "")


_records = {
    "A": _values(FOURS),
    "AAAA": _values(SIXES),
    "HTTPS": _https(),
    "CNAME": st.sampled_from([f"{CDN}.", f"{EDGE}.", f"{DEB}."]),
    "TXT": st.just("hello"),
}
lines = st.lists(
    st.sampled_from(sorted(_records)).flatmap(
        lambda rtype: st.builds("{} {} IN {} {}".format, owners, ttls, st.just(rtype), _records[rtype])
    ),
    max_size=6,
    unique_by=lambda line: (line.split()[0], line.split()[3]),
)
limits = st.builds(
    Limits,
    grace_s=st.sampled_from([0.0, 5.0, 60.0]),
    min_s=st.sampled_from([1.0, 60.0]),
    max_s=st.sampled_from([61.0, 600.0, 86400.0]),
    max_addresses_per_name=st.sampled_from([1, 3, 256]),
)


def _told(answer: Answer, qtype: int) -> set[bytes]:
    """Every address that a client could take from the answer."""
    records = [record for record in answer.records if record[1] == qtype]
    if qtype == TYPES["HTTPS"]:
        return {address for record in records for address in svcb.hints(record[3])}
    return {record[3] for record in records}


@given(lines, st.sampled_from(sorted(TYPES)), rules, limits, st.booleans(), st.none() | st.floats(0.0, 1e4))
def test_compose_any_response_tells_and_grants_the_same_addresses(
    answers: list[str], qtype: str, allowing: list[Rule], bounds: Limits, observe: bool, left_s: float | None
) -> None:
    outcome = Outcome.ALLOWED if allowing else Outcome.DENIED
    scope = Scope(Verdict(outcome, tuple(allowing)), bounds, {OWN}, observe or not allowing)
    number = TYPES[qtype]
    got = response(DEB, qtype, *answers, authority=(SOA,))
    try:
        answer = compose(got, NAME, number, scope, now=1000.0, left_s=left_s)
    except WireError:
        return  # no chain: SERVFAIL
    granted = {address for _, accepted in answer.by_rule for address in accepted}
    assert granted <= {*_told(answer, number)}
    for rule, accepted in answer.by_rule:
        assert rule in allowing
        assert len(accepted) <= bounds.max_addresses_per_name
        assert all(is_acceptable(address, rule.private, {OWN}) for address in accepted)
    if not scope.observe:
        assert _told(answer, number) == granted
        assert not any(record[1] == 65 and b"\0\4\xfe\x0d" in record[3] for record in answer.records)
    asked = grants(answer, NAME, 1000.0)
    assert {(one.rule, address) for one in asked for address in one.addresses} == {
        (rule.name, address) for rule, accepted in answer.by_rule for address in accepted
    }
    assert all(one.name == NAME and one.ttl_s >= answer.left(1000.0) for one in asked)
    assert answer.ends == 1000.0 + answer.ttl_s
    if left_s is not None:
        assert answer.ttl_s <= left_s


@given(lines, st.sampled_from(sorted(TYPES)), rules.filter(bool), limits, st.booleans())
def test_compose_any_response_grants_what_judging_every_address_for_every_rule_gives(
    answers: list[str], qtype: str, allowing: list[Rule], bounds: Limits, observe: bool
) -> None:
    number, got = TYPES[qtype], response(DEB, qtype, *answers, authority=(SOA,))
    scope = Scope(Verdict(Outcome.ALLOWED, tuple(allowing)), bounds, {OWN}, observe)
    try:
        answer = compose(got, NAME, number, scope, now=0.0, left_s=None)
    except WireError:
        return
    final = walk(got, NAME, number).final
    if number == TYPES["HTTPS"]:
        found = [address for record in final for address in svcb.hints(record[3])]
    else:
        found = [record[3] for record in final]
    found = list(dict.fromkeys(found))
    if len(found) > bounds.max_addresses_per_name:
        found.sort()  # the same ones in whatever order they come
    taken = {rule.index: [a for a in found if is_acceptable(a, rule.private, {OWN})] for rule in allowing}
    acceptable = [a for a in found if any(a in some for some in taken.values())]
    granted = acceptable[: bounds.max_addresses_per_name]
    if final:
        assert answer.by_rule == tuple(
            (rule, tuple(a for a in granted if a in taken[rule.index])) for rule in allowing
        )
    if final and not observe and len(granted) < bounds.max_addresses_per_name:
        assert answer.scrubbed == len(found) - len(acceptable)


@given(lines, st.sampled_from(sorted(TYPES)), rules.filter(bool), st.sets(st.sampled_from(FOURS + SIXES)))
def test_without_any_refusal_tells_and_grants_nothing_refused(
    answers: list[str], qtype: str, allowing: list[Rule], refused_texts: set[str]
) -> None:
    refused = {ip_address(text).packed for text in refused_texts}
    scope = Scope(Verdict(Outcome.ALLOWED, tuple(allowing)), Limits(), {OWN}, False)
    try:
        answer = compose(response(DEB, qtype, *answers), NAME, TYPES[qtype], scope, now=0.0, left_s=None)
    except WireError:
        return
    before = {address for _, accepted in answer.by_rule for address in accepted}
    less = without(answer, TYPES[qtype], refused)
    if less is None:
        assert before <= refused
        return
    after = {address for _, accepted in less.by_rule for address in accepted}
    assert after == before - refused == _told(less, TYPES[qtype])


@given(limits, st.integers(0, 2**31 - 1), st.floats(0.0, 1e6), st.none() | st.floats(0.0, 1e6))
def test_aged_answer_of_any_limits_is_never_told_longer_than_its_lease(
    bounds: Limits, ttl: int, later: float, left_s: float | None
) -> None:
    _check_aged(bounds, ttl, later, left_s)


def test_aged_answer_with_leases_shorter_than_thirty_seconds_is_told_no_longer() -> None:
    """`lease.max = "20s"` is valid: RFC 8767's 30 seconds would outlive the lease (invariant 2)."""
    _check_aged(Limits(grace_s=5.0, min_s=5.0, max_s=20.0), 300, 100.0, None)


def _check_aged(bounds: Limits, ttl: int, later: float, left_s: float | None) -> None:
    scope = Scope(Verdict(Outcome.ALLOWED, (Rule(0, "web"),)), bounds, frozenset(), False)
    fresh = compose(response(DEB, "A", f"{DEB} {ttl} IN A 192.0.2.1"), NAME, 1, scope, now=0.0, left_s=left_s)
    stale = aged(fresh, bounds, later)
    (grant,) = grants(stale, NAME, later)
    held_s = lifetime(grant.ttl_s, bounds)
    if grant.ends is not None:
        held_s = min(held_s, grant.ends - later)
    assert stale.left(later) <= max(held_s, 0.0)
