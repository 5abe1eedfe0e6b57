"""What the sets of rules hold, compared with the leases that they ought to hold.

Reads the kernel; must not know who has changed it. Errs to one side: an element's end is told no later than
it is, so what `bears` says is borne out lasts as long as the lease, or longer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.present import read_counts
from dynallow.firewall.ruleset import set_name

STOOD_STILL_S: Final = 30.0
"""By so much the kernel's end may be behind the ledger's: a process that stands still between working out a
timeout and sending it makes a longer lease. Who stands still for longer is replaced by the watchdog."""


class Held(NamedTuple):
    """An element of a rule's set."""

    set_name: str
    until: float
    """By the agent's clock."""
    comment: str

    def bears(self, deadline: float, comment: bytes) -> bool:
        """Whether it is the lease that it ought to be: to write it again could only make it shorter."""
        return deadline <= self.until <= deadline + STOOD_STILL_S and self.comment.encode() == comment


def take_inventory(
    elements: ElementSocket, rules: Iterable[str], now: float
) -> dict[tuple[str, bytes], Held]:
    """By rule and address; `now` was read before. Raises KernelError."""
    counts = read_counts()
    return {
        (rule, member.address): Held(name, now + member.expires_ms / 1000, member.comment)
        for rule in rules
        for name in (set_name(rule, 4), set_name(rule, 6))
        for member in elements.dump(name, counts.get(name))
    }
