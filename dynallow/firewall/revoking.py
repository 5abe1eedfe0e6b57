"""The transactions of a revocation: elements go, and in the same step it counts no more what is established.

Knows the sets; must not know why. Keeps: an address is in its revoked set from the moment on that its
elements are gone, whatever happens in between (each transaction is whole or nothing).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from dynallow.errors import SetBusyError
from dynallow.firewall.elements import Batch, Element
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.ruleset import REVOKED, family_of, set_name
from dynallow.lease.plan import Revocation

_AT_ONCE = 64
"""Addresses in one transaction: each is a handful of elements."""
_BUSY_S = (0.005, 0.01, 0.02, 0.05, 0.1)
"""A set's table that grows says EBUSY for some milliseconds. The loop stands still meanwhile: this is an
administrator's act, and between old rules and new sets there must be no question."""


def revoke_elements(elements: ElementSocket, revocation: Revocation, block_ms: int) -> None:
    """Take the elements away and block the addresses. Raises KernelError; some of it may hold then."""
    taken: dict[bytes, list[str]] = {address: [] for address in revocation.cut}
    for rule, address in revocation.elements:
        taken.setdefault(address, []).append(rule)
    for some in _slices(list(taken.items())):
        batch = Batch()
        for address, rules in some:
            batch.replace(Element(set_name(REVOKED, family_of(address)), address, block_ms, b""))
            for rule in rules:
                batch.remove(set_name(rule, family_of(address)), address)
        commit_patiently(elements, batch)


def release(elements: ElementSocket, addresses: Sequence[bytes]) -> None:
    """Take addresses out of the revoked sets. Raises KernelError."""
    for some in _slices([(address, ()) for address in addresses]):
        batch = Batch()
        for address, _ in some:
            batch.remove(set_name(REVOKED, family_of(address)), address)
        commit_patiently(elements, batch)


def commit_patiently(elements: ElementSocket, batch: Batch) -> None:
    """Commit, again while the set's table grows."""
    for pause_s in _BUSY_S:
        try:
            elements.commit(batch)
        except SetBusyError:
            time.sleep(pause_s)
        else:
            return
    elements.commit(batch)


def _slices(
    items: Sequence[tuple[bytes, Sequence[str]]],
) -> Iterable[Sequence[tuple[bytes, Sequence[str]]]]:
    return (items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE))
