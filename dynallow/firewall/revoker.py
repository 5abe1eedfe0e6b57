"""Takes leases away and sees to it that their flows end: at once in the kernel, for good in the background.

    revoke ─ elements out, addresses into the revoked sets: what was established is judged anew
    end    ─ in a thread: flows that nothing opens are marked, their sockets ended
           ─ addresses that something else opens leave the revoked sets again
           ─ again, and blocked for as long, where that did not end all of them

Knows what is in force (`follow`); must not know why something is revoked. What dies after the first step
leaves flows that are judged anew for ten minutes; the next start goes on with `end`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from dataclasses import dataclass

from dynallow.errors import KernelError
from dynallow.firewall.build import REVOKED_S, Way
from dynallow.firewall.cutting import Cut, cut
from dynallow.firewall.justified import Openings, openings
from dynallow.firewall.table import Table
from dynallow.lease.ledger import Ledger
from dynallow.lease.plan import Revocation
from dynallow.settings import Settings
from dynallow.tasks import Tasks

log = logging.getLogger(__name__)

_SLICE = 500
_AGAIN_S = (1.0, 60.0)
_BLOCK_AGAIN_S = REVOKED_S / 2


@dataclass(slots=True)
class Counts:
    """Since the agent's start."""

    flows: int = 0
    """Flows that were cut because nothing justified them any more."""
    sockets: int = 0
    """Sockets of those that were ended."""


class Revoker:
    """One for the table."""

    def __init__(
        self,
        table: Table,
        ledger: Ledger,
        own: Container[bytes],
        clock: Callable[[], float],
        tasks: Tasks,
    ) -> None:
        self.counts = Counts()
        self._table = table
        self._ledger = ledger
        self._own = own
        self._clock = clock
        self._tasks = tasks
        self._left: set[bytes] = set()
        """Addresses whose flows could not all be found and marked."""
        self._going_on = False
        self._settings: Settings | None = None
        self._ways: tuple[Way, ...] = ()

    def follow(self, settings: Settings, ways: Iterable[Way]) -> None:
        """These are in force now."""
        self._settings, self._ways = settings, tuple(ways)

    def revoke(self, unjustified: Callable[[str, bytes], bool], gone: Sequence[bytes] = ()) -> Revocation:
        """See `Leaser.revoke`."""
        return self._table.leaser.revoke(unjustified, gone)

    def revoked(self) -> tuple[bytes, ...]:
        """Every address that is judged anew now."""
        return tuple(address for address, _ in self._ledger.revoked(self._clock()))

    async def end(self, addresses: Collection[bytes]) -> Cut:
        """End the flows to these that nothing justifies. What only observes ends nothing.

        Where it does not succeed it is gone on with in the background.
        """
        result = await self._tried(addresses)
        if not result.whole:
            self._left.update(addresses)
            if not self._going_on:
                self._going_on = True
                self._tasks.start(self._go_on())
        return result

    async def _go_on(self) -> None:
        """Until it has succeeded: after ten minutes these flows would count as established again."""
        pause_s, longest_s = _AGAIN_S
        block_at = self._clock() + _BLOCK_AGAIN_S
        try:
            while self._left:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, longest_s)
                left, self._left = self._left, set()
                if self._clock() >= block_at and self._block_again(left):
                    block_at = self._clock() + _BLOCK_AGAIN_S
                if not (await self._tried(left)).whole:
                    self._left |= left
        finally:
            self._going_on = False

    def _block_again(self, addresses: Collection[bytes]) -> bool:
        try:
            self._table.leaser.block(tuple(addresses))
        except KernelError as error:
            log.warning("addresses could not be kept in the revoked sets: %s", error)
            return False
        return True

    async def _tried(self, addresses: Collection[bytes]) -> Cut:
        """As `_end`; nothing that it may meet ends whoever waits for it."""
        try:
            return await self._end(addresses)
        except Exception:  # no thread, no memory: there may be again
            log.exception("flows could not be ended, they are stopped by the revoked sets alone")
            return Cut()

    async def _end(self, addresses: Collection[bytes]) -> Cut:
        settings = self._settings
        if not addresses or settings is None or settings.mode == "observe":
            return Cut(whole=True)
        epoch = self._table.leaser.epoch
        opened: Openings = {}
        wanted = list(addresses)
        for start in range(0, len(wanted), _SLICE):
            some = wanted[start : start + _SLICE]
            opened.update(openings(some, settings, self._ways, self._ledger, self._clock()))
            await asyncio.sleep(0)
        result = await asyncio.to_thread(cut, opened, self._own, self._table.features)
        self.counts.flows += result.flows
        self.counts.sockets += result.sockets
        if result.whole and epoch == self._table.leaser.epoch:
            self._release([address for address, by in opened.items() if by])
        return result

    def _release(self, addresses: Sequence[bytes]) -> None:
        """What else opens these opens their flows as ever: those that may not go on are marked now."""
        held = set(self.revoked())
        try:
            self._table.leaser.release([address for address in addresses if address in held])
        except KernelError as error:
            log.warning("addresses stay in the revoked sets until they lapse: %s", error)
