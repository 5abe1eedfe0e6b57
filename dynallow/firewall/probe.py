"""What this kernel can do, found out by doing it (not by its version).

In-place refresh: since about 6.12 re-adding an element with timeout and
expiration moves its deadline; before, the kernel says yes and keeps the old
one. Tried on 0.0.0.0 in `revoked_v4`, a destination that no packet has.
"""

from __future__ import annotations

from dynallow.firewall.elements import Batch, Element
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.ruleset import REVOKED, set_name

_NOWHERE = bytes(4)
_SHORT_MS, _LONG_MS = 60_000, 600_000


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
