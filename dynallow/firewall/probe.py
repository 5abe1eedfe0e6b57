"""What this kernel can do, found out by doing it (not by its version).

    in place          re-adding an element moves its deadline: since about 6.12; before, the kernel
                      says yes and keeps the old one. Tried on 0.0.0.0 in `revoked_v4`, which no packet has
    owner             a table that its owner alone can change, and that outlives him: since about 6.9
    conntrack filter  flows to an IPv4 address told without all others: see `conntrack`
    sock destroy      sockets ended from outside: see `sock_destroy`
    counting          sets that packets fill, keyed by four things: found by loading them (`load`)

A probe leaves nothing behind. What it finds is told by `status` and `doctor`, and each lack has a way
round it that tests force by `dynallow run --without`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from dynallow.firewall import conntrack, sock_destroy
from dynallow.firewall.elements import Batch, Element
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.ruleset import REVOKED, set_name

IN_PLACE, OWNERSHIP, CONNTRACK_FILTER, SOCK_DESTROY, COUNTING = (
    "in-place-refresh",
    "ownership",
    "conntrack-filter",
    "sock-destroy",
    "counting",
)
"""As `dynallow run --without` calls them."""

_NOWHERE = bytes(4)
_SHORT_MS, _LONG_MS = 60_000, 600_000


@dataclass(frozen=True, slots=True)
class Features:
    """What is used of what this kernel may have."""

    in_place: bool = False
    owner: bool = False
    conntrack_filter: bool = False
    sock_destroy: bool = False
    counting: bool = False


def features(elements: ElementSocket, owner: bool, counting: bool, without: Collection[str]) -> Features:
    """Try what is not in `without`; the table must be there. `owner`: whether it was made ours; `counting`:
    whether it was loaded with the sets that count.
    """
    return Features(
        in_place=IN_PLACE not in without and in_place_refresh(elements),
        owner=owner,
        conntrack_filter=CONNTRACK_FILTER not in without and conntrack.filters(),
        sock_destroy=SOCK_DESTROY not in without and sock_destroy.works(),
        counting=counting,
    )


def in_place_refresh(elements: ElementSocket) -> bool:
    """Whether a re-add moves an element's deadline. Leaves nothing behind."""
    name = set_name(REVOKED, 4)
    first, second, last = Batch(), Batch(), Batch()
    first.replace(Element(name, _NOWHERE, _SHORT_MS, b"probe"))
    second.add(Element(name, _NOWHERE, _LONG_MS, b"probe"))
    last.remove(name, _NOWHERE)
    elements.commit(first)
    try:
        elements.commit(second)
        members = elements.dump(name)
    finally:
        elements.commit(last)
    return any(member.address == _NOWHERE and member.expires_ms > _SHORT_MS for member in members)
