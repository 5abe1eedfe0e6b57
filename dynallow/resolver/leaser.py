"""What the resolver needs of whoever keeps the kernel's sets; the agent hands one in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dynallow.lease.grant import Grant


class Leaser(Protocol):
    """Makes grants true before an answer leaves."""

    async def ensure(self, grants: Sequence[Grant]) -> frozenset[bytes]:
        """Return once the kernel has acknowledged every grant's address.

        Returns the addresses that no budget is left for: they must not be
        handed out. Raises KernelError when nothing may be.
        """
