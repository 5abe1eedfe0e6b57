"""The ledger: only longer, caps, claims, revocation."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

import pytest

from dynallow.lease.grant import Grant, Limits
from dynallow.lease.ledger import Ledger
from dynallow.lease.plan import Revocation

WEB, APT = "web", "apt"
DEB, CDN = b"\x03deb\x07example\x03org\0", b"\x03cdn\x07example\x03net\0"
ONE, TWO, THREE = (ip_address(f"192.0.2.{number}").packed for number in (1, 2, 3))
SIX = ip_address("2001:db8::1").packed


def ledger(**limits: float) -> Ledger:
    return Ledger(Limits(**limits), [WEB, APT])  # type: ignore[arg-type]


def grant(
    address: bytes = ONE, ttl: int = 300, *, rule: str = WEB, name: bytes = DEB, ends: float | None = None
) -> Grant:
    return Grant(rule, (address,), ttl, name, ends)


def hold(table: Ledger, *grants: Grant, now: float = 0.0) -> frozenset[bytes]:
    """Plan and commit, as when the kernel agrees."""
    plan = table.plan(grants, now)
    table.commit(plan[1])
    table.commit(plan[0])
    return plan[2]


def deadlines(table: Ledger, now: float = 0.0) -> dict[tuple[str, bytes], float]:
    return {(rule, address): lease.deadline for rule, address, lease in table.leases(now)}


def revoke(table: Ledger, *names: bytes, now: float = 0.0, rules: Iterable[str] = (WEB, APT)) -> list[bytes]:
    """Take the names' claims away; the addresses whose flows would be cut."""

    def unjustified(rule: str, name: bytes) -> bool:
        return name in names and rule in rules

    revocation = table.plan_revocation(unjustified, now)
    table.commit_revocation(revocation, unjustified, now + 600)
    return sorted(revocation.cut)


# ---------------------------------------------------------------- only longer


def test_plan_new_address_asks_for_ttl_and_grace() -> None:
    (put,) = ledger().plan([grant()], 1000.0)[0]
    assert put == (WEB, ONE, 1360.0, DEB, True, False)


def test_plan_changes_nothing_by_itself() -> None:
    table = ledger()
    table.plan([grant()], 0.0)
    assert not deadlines(table)
    assert table.count(WEB) == 0
    assert not table.of(DEB, 0.0)


def test_plan_lease_that_lives_long_enough_asks_for_nothing() -> None:
    table = ledger()
    hold(table, grant(ttl=300))
    assert table.plan([grant(ttl=300)], 0.0) == ([], [], frozenset(), [])
    assert table.plan([grant(ttl=10)], 0.0) == ([], [], frozenset(), [])


def test_plan_longer_ttl_asks_for_the_later_deadline() -> None:
    table = ledger()
    hold(table, grant(ttl=300))
    (put,) = table.plan([grant(ttl=400)], 0.0)[0]
    assert (put[2], put[4]) == (460.0, False)


def test_commit_earlier_deadline_after_a_later_one_keeps_the_later() -> None:
    table = ledger()
    short, long = table.plan([grant(ttl=10)], 0.0), table.plan([grant(ttl=500)], 0.0)
    table.commit(long[0])
    table.commit(short[0])
    assert deadlines(table) == {(WEB, ONE): 560.0}
    assert table.names_of(ONE, 559.0) == {DEB}


def test_plan_shorter_than_the_minimum_never_asks_the_kernel_for_less_than_is_held() -> None:
    table = ledger(grace_s=60.0, min_s=600.0, max_s=86400.0)
    hold(table, grant(ttl=0))
    assert deadlines(table) == {(WEB, ONE): 600.0}
    for plan in (table.plan([grant(ttl=0)], 550.0), table.plan([grant(ttl=100)], 500.0)):
        assert all(put[2] >= 600.0 for put in plan[0])


def test_plan_without_grace_asks_again_as_soon_as_the_ttl_is_not_covered() -> None:
    table = ledger(grace_s=0.0, min_s=1.0)
    hold(table, grant(ttl=300))
    assert table.plan([grant(ttl=300)], 0.0)[0] == []
    (put,) = table.plan([grant(ttl=300)], 0.5)[0]
    assert put[2] == 300.5


def test_plan_lapsed_lease_is_fresh_again_and_its_new_earner_is_named() -> None:
    table = ledger()
    hold(table, grant(ttl=0))
    hold(table, grant(ttl=0, name=CDN), now=100.0)
    ((_, lease),) = table.at(ONE, 100.0)
    assert (lease.name, lease.deadline) == (CDN, 160.0)


def test_commit_second_name_on_a_live_lease_keeps_the_first_earner() -> None:
    table = ledger()
    hold(table, grant(ttl=100))
    hold(table, grant(ttl=900, name=CDN))
    ((_, lease),) = table.at(ONE, 0.0)
    assert (lease.name, lease.deadline) == (DEB, 960.0)


# ---------------------------------------------------------------- claims


def test_plan_second_name_on_a_lease_that_holds_is_a_claim_without_the_kernel() -> None:
    table = ledger()
    hold(table, grant(ttl=900))
    plan = table.plan([grant(ttl=100, name=CDN)], 0.0)
    assert plan[0] == []
    assert [(put[3], put[2]) for put in plan[1]] == [(CDN, 160.0)]


def test_claims_second_name_shorter_than_the_lease_ends_on_its_own() -> None:
    table = ledger()
    hold(table, grant(ttl=900))
    hold(table, grant(ttl=100, name=CDN))
    assert deadlines(table) == {(WEB, ONE): 960.0}
    assert table.names_of(ONE, 159.0) == {DEB, CDN}
    assert table.names_of(ONE, 161.0) == {DEB}


def test_of_and_at_tell_live_leases_only() -> None:
    table = ledger()
    hold(table, grant(ONE, ttl=0), grant(TWO, ttl=900), grant(TWO, rule=APT, ttl=900))
    assert {(rule, address) for rule, address, _ in table.of(DEB, 100.0)} == {(WEB, TWO), (APT, TWO)}
    assert table.at(ONE, 100.0) == []
    assert [rule for rule, _ in table.at(TWO, 100.0)] == [WEB, APT]


# ---------------------------------------------------------------- expiring rules


def test_plan_rule_that_ends_bounds_the_deadline() -> None:
    table = ledger()
    hold(table, grant(ttl=300, ends=50.0))
    assert deadlines(table) == {(WEB, ONE): 50.0}
    assert table.plan([grant(ttl=300, ends=50.0)], 10.0)[0] == []


def test_plan_rule_that_has_ended_holds_at_once_so_that_nobody_waits_for_ever() -> None:
    table = ledger()
    hold(table, grant(ttl=0, ends=99.0), now=100.0)
    assert table.plan([grant(ttl=0, ends=99.0)], 100.0) == ([], [], frozenset(), [])
    assert not deadlines(table, 100.0)


# ---------------------------------------------------------------- caps


def test_plan_name_at_its_cap_refuses_the_new_address_and_keeps_the_old() -> None:
    table = ledger(max_addresses_per_name=2)
    assert hold(table, grant(ONE), grant(TWO)) == frozenset()
    assert hold(table, grant(THREE), grant(ONE, ttl=900)) == {THREE}
    assert deadlines(table) == {(WEB, ONE): 960.0, (WEB, TWO): 360.0}


def test_plan_name_at_its_cap_with_lapsed_addresses_makes_room() -> None:
    table = ledger(max_addresses_per_name=2)
    hold(table, grant(ONE, ttl=0), grant(TWO, ttl=900))
    assert hold(table, grant(THREE), now=61.0) == frozenset()


def test_plan_cap_of_a_name_counts_each_name_on_its_own() -> None:
    table = ledger(max_addresses_per_name=1)
    assert hold(table, grant(ONE), grant(TWO, name=CDN)) == frozenset()
    assert hold(table, grant(TWO)) == {TWO}


def test_plan_more_new_addresses_than_the_cap_in_one_answer_refuses_the_rest() -> None:
    plan = ledger(max_addresses_per_name=2).plan([grant(ONE), grant(TWO), grant(THREE)], 0.0)
    assert plan[2] == {THREE}
    assert {put[1] for put in plan[0]} == {ONE, TWO}


def test_latest_of_puts_planned_apart_is_the_longer_and_unblocks_if_one_does() -> None:
    long = (WEB, ONE, 900.0, DEB, True, False)
    short = (WEB, ONE, 300.0, CDN, True, True)
    other = (APT, ONE, 300.0, CDN, True, False)
    for puts in ([long, short, other], [other, short, long]):
        found = ledger().latest(puts)
        assert {rule: [*by_address] for rule, by_address in found.items()} == {WEB: [ONE], APT: [ONE]}
        assert found[WEB][ONE][2] == 900.0
        assert found[WEB][ONE][5]
        assert found[APT][ONE] == other


def test_latest_is_never_shorter_than_what_was_committed_since_it_was_planned() -> None:
    table = ledger()
    short = table.plan([grant(ttl=10)], 0.0)[0]
    hold(table, grant(ttl=900, name=CDN))
    assert table.latest(short)[WEB][ONE][2] == 960.0
    assert table.latest([("gone", ONE, 5.0, DEB, True, False)])["gone"][ONE][2] == 5.0


def test_plan_same_address_twice_in_one_answer_counts_once() -> None:
    """Two HTTPS records with the same hint, as big CDNs send them."""
    twice = grant(ONE)._replace(addresses=(ONE, ONE))
    plan = ledger(max_addresses_per_name=1, max_per_rule=1).plan([twice], 0.0)
    assert plan[2] == frozenset()
    assert {put[1] for put in plan[0]} == {ONE}


def test_plan_rule_at_its_cap_refuses_and_one_lease_more_fits_once_another_lapsed() -> None:
    table = ledger(max_per_rule=2)
    hold(table, grant(ONE, ttl=0), grant(SIX, ttl=900, name=CDN))
    assert hold(table, grant(TWO)) == {TWO}
    assert hold(table, grant(TWO), now=61.0) == frozenset()
    assert table.count(WEB) == 2


def test_plan_rule_at_its_cap_still_refreshes_what_it_holds() -> None:
    table = ledger(max_per_rule=1)
    hold(table, grant(ttl=10))
    assert hold(table, grant(ttl=500)) == frozenset()
    assert deadlines(table) == {(WEB, ONE): 560.0}


def test_plan_address_over_one_rules_cap_is_refused_for_every_rule() -> None:
    table = ledger(max_per_rule=1)
    hold(table, grant(TWO, rule=APT))
    plan = table.plan([grant(ONE, rule=WEB), grant(ONE, rule=APT)], 0.0)
    assert plan == ([], [], frozenset({ONE}), [])


def test_plan_refused_address_leaves_neither_claim_nor_lease() -> None:
    table = ledger(max_per_rule=1)
    hold(table, grant(ONE, ttl=900))
    hold(table, grant(TWO, rule=APT, name=CDN))
    # WEB holds ONE, so DEB → CDN is a claim only; APT has no room for it.
    assert hold(table, grant(ONE, rule=WEB, name=CDN, ttl=1), grant(ONE, rule=APT, name=CDN, ttl=1)) == {ONE}
    assert table.names_of(ONE, 0.0) == {DEB}
    assert deadlines(table) == {(WEB, ONE): 960.0, (APT, TWO): 360.0}


def test_plan_unknown_rule_is_refused() -> None:
    assert ledger().plan([grant(rule="gone")], 0.0) == ([], [], frozenset({ONE}), [])


def test_commit_rule_that_went_meanwhile_is_ignored() -> None:
    table = ledger()
    plan = table.plan([grant(), grant(TWO, rule=APT)], 0.0)
    table.set_rules([APT], table.limits)
    table.commit(plan[0])
    assert deadlines(table) == {(APT, TWO): 360.0}


# ---------------------------------------------------------------- reload, adoption


def test_set_rules_keeps_leases_and_claims_of_rules_that_stay() -> None:
    table = ledger()
    hold(table, grant(ONE), grant(TWO, rule=APT))
    table.set_rules(["new", WEB], Limits(max_addresses_per_name=1))
    assert deadlines(table) == {(WEB, ONE): 360.0}
    assert hold(table, grant(THREE)) == {THREE}, "the claim of ONE still counts"
    assert hold(table, grant(THREE, rule="new", name=CDN)) == frozenset()


def test_set_rules_rule_that_comes_back_starts_empty() -> None:
    table = ledger()
    hold(table, grant())
    table.set_rules([APT], table.limits)
    table.set_rules([APT, WEB], table.limits)
    assert not deadlines(table)
    assert table.names_of(ONE, 0.0) == set()


def test_adopt_counts_as_a_lease_with_the_remaining_time() -> None:
    table = ledger()
    table.adopt(WEB, ONE, 500.0, DEB)
    assert deadlines(table) == {(WEB, ONE): 500.0}
    assert table.plan([grant(ttl=400)], 0.0) == ([], [], frozenset(), [])
    assert table.plan([grant(ttl=500)], 0.0)[0][0][4] is False


# ---------------------------------------------------------------- revocation


def test_revocation_shared_address_goes_only_with_its_last_name() -> None:
    table = ledger()
    hold(table, grant(ttl=900))
    hold(table, grant(ttl=100, name=CDN))
    assert revoke(table, DEB) == []
    assert deadlines(table) == {(WEB, ONE): 960.0}
    assert table.names_of(ONE, 0.0) == {CDN}
    assert revoke(table, CDN) == [ONE]
    assert not deadlines(table)


def test_revocation_claim_that_lapsed_does_not_hold_the_address() -> None:
    table = ledger()
    hold(table, grant(ttl=900))
    hold(table, grant(ttl=1, name=CDN))
    assert revoke(table, DEB, now=62.0) == [ONE]


def test_revocation_address_live_under_another_rule_is_taken_but_not_cut() -> None:
    table = ledger()
    hold(table, grant(ONE), grant(ONE, rule=APT))
    assert revoke(table, DEB, rules=[WEB]) == [ONE]  # its flows must be told apart, by their ports
    assert deadlines(table) == {(APT, ONE): 360.0}


def test_revocation_address_lapsed_under_the_other_rule_is_cut() -> None:
    table = ledger()
    hold(table, grant(ONE, ttl=900), grant(ONE, rule=APT, ttl=0))
    assert revoke(table, DEB, rules=[WEB], now=100.0) == [ONE]


def test_revocation_of_both_rules_at_once_cuts_once() -> None:
    table = ledger()
    hold(table, grant(ONE), grant(ONE, rule=APT))
    revocation = table.plan_revocation(lambda rule, name: True, 0.0)
    assert sorted(revocation.elements) == [(APT, ONE), (WEB, ONE)]
    assert revocation.cut == (ONE,)


def test_revocation_gone_rule_cuts_each_of_its_addresses_once() -> None:
    table = ledger()
    hold(table, grant(ONE, rule=APT))
    revocation = table.plan_revocation(lambda rule, name: False, 0.0, gone=[ONE, TWO, TWO])
    assert revocation == Revocation((), (ONE, TWO))


def test_revocation_planned_and_not_committed_changes_nothing() -> None:
    table = ledger()
    hold(table, grant())
    table.plan_revocation(lambda rule, name: True, 0.0)
    assert deadlines(table) == {(WEB, ONE): 360.0}
    assert table.plan([grant(ttl=1)], 0.0)[0] == []


def test_plan_address_in_the_revoked_set_is_written_anew_and_leaves_it() -> None:
    table = ledger()
    hold(table, grant())
    revoke(table, DEB)
    (put,) = table.plan([grant()], 1.0)[0]
    assert (put[4], put[5]) == (True, True)
    table.commit([put])
    assert table.plan([grant()], 1.0)[0] == []


def test_plan_address_adopted_as_revoked_is_written_although_its_lease_would_hold() -> None:
    table = ledger()
    table.adopt(WEB, ONE, 5000.0, DEB)
    table.adopt_revoked(ONE, 600.0)
    (put,) = table.plan([grant(ttl=1)], 0.0)[0]
    assert (put[2], put[5]) == (5000.0, True)


def test_sweep_forgets_lapsed_leases_claims_and_revocations() -> None:
    table = ledger()
    hold(table, grant(ONE, ttl=0), grant(TWO, ttl=900))
    hold(table, grant(THREE))
    revoke(table, CDN)
    table.adopt_revoked(SIX, 50.0)
    for _ in table.sweep(100.0):
        pass
    assert table.count(WEB) == 2
    assert {address for _, address, _ in table.of(DEB, 100.0)} == {TWO, THREE}
    (put,) = table.plan([grant(SIX)], 100.0)[0]
    assert not put[5]


@pytest.mark.parametrize("lapse", [60.0, 60.0001])
def test_leases_end_at_their_deadline_not_after(lapse: float) -> None:
    table = ledger()
    hold(table, grant(ttl=0))
    assert deadlines(table, 59.99)
    assert not deadlines(table, lapse)
