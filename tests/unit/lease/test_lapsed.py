"""Leases that have lapsed: remembered as long as flows may live on, and cut with their rule or name."""

from __future__ import annotations

from ipaddress import ip_address

from dynallow.lease.grant import Grant, Limits
from dynallow.lease.lapsed import Lapsed
from dynallow.lease.ledger import Ledger

ONE, TWO = ip_address("192.0.2.1").packed, ip_address("192.0.2.2").packed
DEB, CDN = b"\3deb\7example\0", b"\3cdn\7example\0"


def held(*grants: Grant) -> Ledger:
    ledger = Ledger(Limits(grace_s=0.0, min_s=10.0), ["web", "apt"])
    ledger.commit(ledger.plan(grants, 0.0)[0])
    return ledger


def test_lease_that_lapsed_and_was_swept_is_cut_when_its_name_goes() -> None:
    ledger = held(Grant("web", (ONE,), 0, DEB), Grant("web", (TWO,), 0, CDN))
    list(ledger.sweep(20.0))
    assert ledger.lapsed.addresses() == {ONE, TWO}
    revocation = ledger.plan_revocation(lambda rule, name: name == DEB, 20.0)
    assert (revocation.elements, revocation.cut) == ((), (ONE,))
    ledger.commit_revocation(revocation, lambda rule, name: name == DEB, 620.0)
    assert ledger.lapsed.addresses() == {TWO}


def test_lease_that_lapsed_and_was_not_swept_yet_is_cut_when_its_name_goes() -> None:
    ledger = held(Grant("web", (ONE,), 0, DEB))
    assert ledger.plan_revocation(lambda rule, name: True, 20.0).cut == (ONE,)
    assert ledger.plan_revocation(lambda rule, name: False, 20.0).cut == ()


def test_lapsed_lease_of_a_rule_that_is_gone_is_cut() -> None:
    ledger = held(Grant("apt", (ONE,), 0, DEB))
    list(ledger.sweep(20.0))
    ledger.set_rules(["web"], ledger.limits)
    assert ledger.plan_revocation(lambda rule, name: False, 20.0).cut == (ONE,)


def test_lapsed_without_a_flow_is_forgotten_but_only_what_was_looked_at() -> None:
    lapsed = Lapsed()
    for address in (ONE, TWO):
        lapsed.note("web", address, DEB)
    lapsed.keep({ONE}, set())
    assert lapsed.addresses() == {TWO}
    lapsed.keep({TWO}, {TWO})
    assert lapsed.addresses() == {TWO}


def test_lapsed_is_bounded_and_the_oldest_go_first() -> None:
    lapsed = Lapsed(size=10)
    addresses = [bytes([10, 0, 0, number]) for number in range(25)]
    for address in addresses:
        lapsed.note("web", address, DEB)
    assert lapsed.addresses() == set(addresses[-10:])


def test_drop_lease_whose_set_became_smaller_is_a_lapsed_one() -> None:
    """Its flows live on as those of any lease that ended by itself, and end with the rule all the same."""
    ledger = Ledger(Limits(), ["web"])
    ledger.adopt("web", ONE, 100.0, b"\1a\0")
    ledger.drop("web", ONE)
    assert ledger.plan_revocation(lambda rule, name: True, 1.0).cut == (ONE,)
