"""A leaser on sets of its own in the real kernel. Knows `Leaser` and nft; must not know DNS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from ipaddress import ip_address
from typing import Any, TypeVar

from dynallow.firewall.leaser import Leaser
from dynallow.firewall.netlink import ElementSocket
from dynallow.lease.grant import Grant, Limits
from dynallow.lease.ledger import Ledger
from dynallow.policy.names import parse_name, to_text
from tests.netns.kernel import flush, nft

T = TypeVar("T")
DEB, CDN = parse_name("deb.example.org"), parse_name("cdn.example.net")
ONE, TWO = ip_address("192.0.2.1").packed, ip_address("192.0.2.2").packed
SIX = ip_address("2001:db8::1").packed
RULES = ("web", "apt")


def declare(budget: int = 100, rules: tuple[str, ...] = RULES) -> None:
    """The sets of these rules, of twice the budget as `build` makes them."""
    lines = ["add table inet dynallow"]
    for rule in ("revoked", *rules):
        counter = "" if rule == "revoked" else " counter;"
        for version in (4, 6):
            lines.append(
                f"add set inet dynallow {rule}_v{version} "
                f"{{ type ipv{version}_addr; size {2 * budget}; flags timeout;{counter} }}"
            )
    nft("-f", "-", stdin="\n".join(lines))


def fresh_elements() -> Iterator[ElementSocket]:
    """A socket on empty sets, for a fixture."""
    flush()
    declare()
    opened = ElementSocket()
    yield opened
    opened.close()


def make(
    elements: ElementSocket,
    limits: Limits | None = None,
    *,
    in_place: bool = True,
    rules: tuple[str, ...] = RULES,
) -> Leaser:
    return Leaser(Ledger(limits or Limits(), rules), elements, to_text, in_place=in_place)


def grant(address: bytes = ONE, ttl: int = 300, *, rule: str = "web", name: bytes = DEB) -> Grant:
    return Grant(rule, (address,), ttl, name)


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return asyncio.run(work())


def ensure(leaser: Leaser, *grants: Grant) -> frozenset[bytes]:
    return run(lambda: leaser.ensure(grants))
