"""A name with more addresses than may be leased for it, told in another order each time.

Which ones are taken must not depend on the order: the leases of the last time hold the
name's whole budget, and others than these are refused for as long as they live.
"""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from dynallow.lease.grant import Limits
from dynallow.policy.names import parse_name
from dynallow.policy.rules import Rule
from dynallow.policy.verdict import Outcome, Verdict
from dynallow.resolver.answer import Scope, compose, grants
from dynallow.wire.response import Response

NAME = parse_name("pool.example.org")
POOL = [ip_address(f"192.0.{number >> 8}.{number & 255}").packed for number in range(2 << 8, (2 << 8) + 1500)]
SCOPE = Scope(Verdict(Outcome.ALLOWED, (Rule(0, "web"),)), Limits(), frozenset(), False)


def granted(addresses: list[bytes]) -> list[bytes]:
    records = tuple((NAME, 1, 300, address) for address in addresses)
    answer = compose(Response(0, 0x8180, 0, records, ()), NAME, 1, SCOPE, now=0.0, left_s=None)
    return [address for grant in grants(answer, NAME, 0.0) for address in grant.addresses]


@pytest.mark.parametrize("size", [257, 400, 1500])
def test_compose_more_addresses_than_the_cap_takes_the_same_ones_in_any_order(size: int) -> None:
    first, second = granted(POOL[:size]), granted(POOL[200:size] + POOL[:200])
    assert len(first) == len(second) == Limits().max_addresses_per_name
    assert set(first) == set(second)
