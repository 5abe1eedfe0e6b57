"""In whatever order grants are planned, refused, committed and revoked, the latest deadline holds.

The model is two dictionaries and a maximum; time only goes forward. A plan may wait while
others are committed, as a transaction does, and may be thrown away, as a refused one is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from dynallow.lease.grant import Grant, Limits
from dynallow.lease.ledger import Ledger
from dynallow.lease.plan import Plan, Put, Room, room_of

RULES = ("web", "apt", "git")
NAMES = tuple(b"\x01" + bytes([letter]) + b"\0" for letter in b"abc")
ADDRESSES = tuple(bytes([192, 0, 2, number]) for number in range(5))
LIMITS = Limits(grace_s=10.0, min_s=20.0, max_s=1000.0, max_addresses_per_name=3, max_per_rule=4)

grants = st.lists(
    st.builds(
        Grant,
        rule=st.sampled_from([*RULES, "gone"]),
        addresses=st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=4).map(tuple),
        ttl_s=st.integers(0, 990),
        name=st.sampled_from(NAMES),
        ends=st.none(),
    ),
    max_size=6,
    unique_by=lambda grant: (grant.rule, grant.name),
)
names = st.sets(st.sampled_from(NAMES))
some_rules = st.sets(st.sampled_from(RULES))


def places(room: Sequence[Room]) -> Counter[tuple[str, bytes]]:
    """How many places are taken for each name within a rule."""
    assert all(rule == both[0] for rule, both, _ in room)
    return sum((Counter({both: count}) for _, both, count in room), Counter())


class LedgerMachine(RuleBasedStateMachine):
    """The ledger beside the model."""

    waiting: Bundle[Plan] = Bundle("waiting")

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.ledger = Ledger(LIMITS, RULES)
        self.leases: dict[tuple[str, bytes], float] = {}
        self.claims: dict[tuple[str, bytes, bytes], float] = {}
        self.ever: set[tuple[str, bytes, bytes]] = set()
        """Every claim that there was: flows to what has lapsed may live on."""
        self.revoked: set[bytes] = set()
        self.at_once = True
        """No plan was ever kept waiting: then the caps hold to the letter."""

    # -- the model ---------------------------------------------------------

    def live(self) -> dict[tuple[str, bytes], float]:
        return {key: deadline for key, deadline in self.leases.items() if deadline > self.now}

    def commit(self, puts: list[Put]) -> None:
        self.ledger.commit(puts)
        for put in puts:
            key, claim = (put[0], put[1]), (put[0], put[3], put[1])
            self.leases[key] = max(put[2], self.leases.get(key, 0.0))
            self.claims[claim] = max(put[2], self.claims.get(claim, 0.0))
            self.ever.add(claim)
            if put[5]:
                self.revoked.discard(put[1])

    def plan(self, wanted: list[Grant]) -> Plan:
        before = dict(self.live())
        plan = self.ledger.plan(wanted, self.now)
        assert self.live() == before
        told = {put[1] for put in plan[0] + plan[1]}
        assert not told & plan[2]
        assert places(plan[3]) == places(room_of(plan[0])), "of new leases, no other"
        for put in plan[0]:
            assert put[2] >= before.get((put[0], put[1]), 0.0), "shortened"
            assert put[2] <= max(self.now + LIMITS.max_s, before.get((put[0], put[1]), 0.0)), (
                "longer than lease.max"
            )
            assert put[5] == (put[1] in self.revoked)
        for grant in wanted:
            for address in set(grant.addresses) - plan[2]:
                key = (grant.rule, address)
                planned = [p[2] for p in plan[0] if (p[0], p[1]) == key]
                holds = max([*planned, before.get(key, 0.0)])
                assert holds >= self.now + grant.ttl_s, "a client would be told a TTL beyond the lease"
                if address in self.revoked:
                    assert planned, "the address would stay revoked"
        assert {a for grant in wanted if grant.rule == "gone" for a in grant.addresses} <= plan[2]
        return plan

    # -- what may happen ---------------------------------------------------

    @rule(wanted=grants)
    def granted(self, wanted: list[Grant]) -> None:
        plan = self.plan(wanted)
        self.commit(plan[1])
        self.commit(plan[0])
        told = [
            grant._replace(addresses=tuple(a for a in grant.addresses if a not in plan[2]))
            for grant in wanted
        ]
        again = self.ledger.plan([grant for grant in told if grant.addresses], self.now)
        assert again == ([], [], frozenset(), []), "what was committed does not hold"

    @rule(wanted=grants)
    def refused_by_the_kernel(self, wanted: list[Grant]) -> None:
        self.plan(wanted)

    @rule(target=waiting, wanted=grants)
    def planned(self, wanted: list[Grant]) -> Plan:
        self.at_once = False
        return self.plan(wanted)

    @rule(plan=consumes(waiting))
    def acknowledged_later(self, plan: Plan) -> None:
        self.commit(plan[0])

    @rule(seconds=st.floats(0.1, 600.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def swept(self) -> None:
        list(self.ledger.sweep(self.now))
        assert all(self.ledger.count(name) == sum(1 for r, _ in self.live() if r == name) for name in RULES)

    @rule(lost=names, among=some_rules)
    def revoked_by_a_reload(self, lost: set[bytes], among: set[str]) -> None:
        def unjustified(rule: str, name: bytes) -> bool:
            return rule in among and name in lost

        live = self.live()
        kept = {
            (rule, address)
            for (rule, name, address), deadline in self.claims.items()
            if deadline > self.now and not unjustified(rule, name)
        }
        gone = {key for key in live if key not in kept}
        cut = {address for _, address in gone}
        revocation = self.ledger.plan_revocation(unjustified, self.now)
        assert set(revocation.elements) == gone
        lapsed = set(revocation.cut) - cut
        assert cut <= set(revocation.cut)
        assert lapsed <= {address for rule, name, address in self.ever if unjustified(rule, name)}
        self.ledger.commit_revocation(revocation, unjustified, self.now + 1e9)
        self.revoked |= cut | lapsed
        for key in gone:
            del self.leases[key]
        for claim in [claim for claim in self.claims if unjustified(*claim[:2])]:
            del self.claims[claim]

    # -- what always holds -------------------------------------------------

    @invariant()
    def the_latest_deadline_holds(self) -> None:
        told = {(rule, address): lease.deadline for rule, address, lease in self.ledger.leases(self.now)}
        assert told == self.live()

    @invariant()
    def names_are_known_by_their_claims(self) -> None:
        for address in ADDRESSES:
            assert self.ledger.names_of(address, self.now) == {
                name
                for (_, name, claimed), deadline in self.claims.items()
                if claimed == address and deadline > self.now
            }

    @invariant()
    def budgets_hold(self) -> None:
        if not self.at_once:
            return
        for of_rule in RULES:
            assert sum(1 for rule, _ in self.live() if rule == of_rule) <= LIMITS.max_per_rule
        for of_rule, of_name in product(RULES, NAMES):
            held = [
                address
                for (rule, name, address), end in self.claims.items()
                if (rule, name) == (of_rule, of_name) and end > self.now
            ]
            assert len(held) <= LIMITS.max_addresses_per_name


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(stateful_step_count=40)


@given(
    st.lists(st.tuples(st.integers(0, 990), st.sampled_from(NAMES), st.floats(0.0, 300.0)), min_size=1),
    st.floats(-50.0, 500.0),
)
def test_ledger_rule_that_ends_leases_nothing_beyond_it(
    asked: list[tuple[int, bytes, float]], ends_in: float
) -> None:
    ledger, now = Ledger(LIMITS, RULES), 100.0
    ends = now + ends_in
    for ttl, name, wait in asked:
        plan = ledger.plan([Grant("web", ADDRESSES[:1], ttl, name, ends)], now)
        ledger.commit(plan[1])
        ledger.commit(plan[0])
        assert all(lease.deadline <= ends for _, _, lease in ledger.leases(now))
        assert not ledger.names_of(ADDRESSES[0], ends)
        now += wait
