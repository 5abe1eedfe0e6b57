"""The ledger's budgets that outlast one plan: names of a rule, and plans on their way to the kernel."""

from __future__ import annotations

from ipaddress import ip_address

from dynallow.lease.grant import Grant, Limits
from dynallow.lease.ledger import Ledger
from dynallow.lease.plan import Plan

WEB, APT = "web", "apt"
ONE, TWO, THREE, FOUR = (ip_address(f"192.0.2.{number}").packed for number in (1, 2, 3, 4))


def name(number: int) -> bytes:
    return b"\x02n%d\x07example\x03org\0" % number


def ledger(**limits: int) -> Ledger:
    return Ledger(Limits(**limits), [WEB, APT])


def grant(number: int, address: bytes = ONE, ttl: int = 300, *, rule: str = WEB) -> Grant:
    return Grant(rule, (address,), ttl, name(number))


def hold(table: Ledger, *grants: Grant, now: float = 0.0) -> frozenset[bytes]:
    """Plan and commit, as when the kernel agrees."""
    plan = table.plan(grants, now)
    table.commit(plan[1])
    table.commit(plan[0])
    return plan[2]


# ---------------------------------------------------------------- names


def test_plan_rule_with_as_many_names_as_leases_refuses_a_further_name_of_the_same_address() -> None:
    """Below a wildcard anybody can make up names; they cost no lease, but they cost memory."""
    table = ledger(max_per_rule=3)
    for number in range(3):
        assert hold(table, grant(number)) == frozenset()
    assert hold(table, grant(3)) == {ONE}
    assert table.count_names(WEB) == 3
    assert name(3) not in table.names_of(ONE, 0.0)


def test_plan_flood_of_names_of_one_address_keeps_no_more_than_the_budget() -> None:
    table = ledger(max_per_rule=5)
    for number in range(10, 99):
        hold(table, grant(number), now=number / 100)
    assert table.count_names(WEB) == 5
    assert table.count(WEB) == 1


def test_plan_rule_full_of_names_still_refreshes_those_that_it_has() -> None:
    table = ledger(max_per_rule=2)
    hold(table, grant(0), grant(1))
    assert hold(table, grant(1, ttl=900)) == frozenset()
    assert [lease.deadline for _, _, lease in table.leases(0.0)] == [960.0]


def test_plan_rule_full_of_names_is_not_another_rules_concern() -> None:
    table = ledger(max_per_rule=2)
    hold(table, grant(0), grant(1))
    assert hold(table, grant(2, rule=APT)) == frozenset()


def test_plan_rule_full_of_names_makes_room_once_one_has_lapsed() -> None:
    table = ledger(max_per_rule=2)
    hold(table, grant(0, ttl=900), grant(1, ttl=1))
    assert hold(table, grant(2), now=60.0) == {ONE}
    assert hold(table, grant(2), now=62.0) == frozenset()
    assert table.names_of(ONE, 62.0) == {name(0), name(2)}
    assert table.count_names(WEB) == 2


# ---------------------------------------------------------------- on the way to the kernel


def planned(table: Ledger, *grants: Grant) -> Plan:
    """Plan and reserve, as while the kernel has not answered yet."""
    plan = table.plan(grants, 0.0)
    table.reserve(plan[3])
    return plan


def test_plans_before_a_commit_share_the_budget_of_the_rule() -> None:
    table = ledger(max_per_rule=2)
    first = planned(table, grant(0, ONE))
    second = planned(table, grant(1, TWO))
    third = planned(table, grant(2, THREE))
    assert [sorted(plan[2]) for plan in (first, second, third)] == [[], [], [THREE]]
    assert planned(table, grant(2, THREE, rule=APT))[2] == frozenset()


def test_plans_before_a_commit_share_the_budget_of_the_name() -> None:
    table = ledger(max_addresses_per_name=1)
    planned(table, grant(0, ONE))
    assert planned(table, grant(0, TWO))[2] == {TWO}
    assert planned(table, grant(1, TWO))[2] == frozenset()


def test_release_after_the_commit_counts_each_lease_once() -> None:
    table = ledger(max_per_rule=2)
    first = planned(table, grant(0, ONE))
    table.commit(first[0])
    table.release(first[3])
    assert planned(table, grant(1, TWO))[2] == frozenset()
    assert planned(table, grant(2, THREE))[2] == {THREE}


def test_release_of_what_the_kernel_refused_gives_the_room_back() -> None:
    table = ledger(max_per_rule=1)
    first = planned(table, grant(0, ONE))
    assert planned(table, grant(1, TWO))[2] == {TWO}
    table.release(first[3])
    assert planned(table, grant(1, TWO))[2] == frozenset()


def test_plans_before_a_commit_share_the_budget_down_to_the_last_place() -> None:
    """Also where some of an answer fits and the rest of it does not."""
    table = ledger(max_per_rule=3)
    first = planned(table, grant(0)._replace(addresses=(ONE, TWO)))
    second = planned(table, grant(1)._replace(addresses=(THREE, FOUR)))
    assert [sorted(plan[2]) for plan in (first, second)] == [[], [FOUR]]
    assert planned(table, grant(2, FOUR))[2] == {FOUR}
    table.release(second[3])
    assert planned(table, grant(2, FOUR))[2] == frozenset()
    assert planned(table, grant(3, THREE))[2] == {THREE}


def test_plan_of_lapsed_and_new_addresses_keeps_the_caps() -> None:
    """What has lapsed is no room twice: once as it is granted again, and once as it is forgotten."""
    table = ledger(max_addresses_per_name=2, max_per_rule=2)
    hold(table, grant(0, ttl=1)._replace(addresses=(ONE, TWO)))
    refused = hold(table, grant(0)._replace(addresses=(ONE, THREE, TWO)), now=500.0)
    assert refused == {TWO}
    assert table.count(WEB) == 2
    assert len(table.of(name(0), 500.0)) == 2


def test_plan_of_one_answer_in_two_grants_shares_the_budget() -> None:
    table = ledger(max_per_rule=1)
    plan = table.plan([grant(0, ONE), grant(0, TWO), grant(0, TWO, rule=APT)], 0.0)
    assert plan[2] == {TWO}
    assert [put[1] for put in plan[0]] == [ONE]
    assert plan[3] == [(WEB, (WEB, name(0)), 1)]


def test_reserve_of_a_lease_that_is_only_lengthened_takes_no_room() -> None:
    table = ledger(max_per_rule=2)
    hold(table, grant(0, ONE))
    assert planned(table, grant(0, ONE, ttl=900))[0]
    assert planned(table, grant(1, TWO))[2] == frozenset()
