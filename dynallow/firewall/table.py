"""The table as the agent keeps it: loaded, leased from, watched, healed.

Joins the parts of this room: `load` (chains and rules) and `Leaser` (elements), both through one socket,
which owns the table where the kernel knows such a thing, and `Watch` (others' hands, where it does not).
Whatever happens here, the chain that is in force stays in force until the next one has replaced it
(invariant 9).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import replace

import tenacity

from dynallow.errors import KernelError, UnsettledError
from dynallow.firewall import load
from dynallow.firewall.leaser import Leaser
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.present import read_owner
from dynallow.firewall.probe import COUNTING, OWNERSHIP, Features, features
from dynallow.firewall.ruleset import Ruleset, uncounted
from dynallow.firewall.step import Flags
from dynallow.firewall.watch import Watch
from dynallow.lease.ledger import Ledger
from dynallow.tasks import Tasks

log = logging.getLogger(__name__)

# Somebody who keeps taking the table away gets it back this often at most.
_HEAL_EVERY_S = 0.05
_HEAL_EVERY_MAX_S = 0.4  # a host without the table is open: never longer than this
_CALM_S = 30.0
_PREDECESSOR_S = 2.0


class Table:
    """`table inet dynallow`, under one owner."""

    def __init__(
        self,
        ledger: Ledger,
        describe: Callable[[bytes], str],
        tasks: Tasks,
        on_tampering: Callable[[], None],
    ) -> None:
        self.ledger = ledger
        self.heals = 0
        self.last_tampering: str | None = None
        self._describe = describe
        self._tasks = tasks
        self._on_tampering = on_tampering
        self._elements = ElementSocket()
        self._watch = Watch(self._elements.port, self._changed)
        self._wanted: Ruleset | None = None
        self._healing = False
        self._again = False
        self._heal_every_s = _HEAL_EVERY_S
        self._last_heal = 0.0
        self._healed = 0  # how often, when that was looked at last
        self.features = Features()
        self._flags = Flags.OWNED
        self._owned = False
        self._counts = True
        self.leaser = Leaser(ledger, self._elements, describe, in_place=False, soon=tasks.soon)
        self.leaser.on_missing = self._changed

    def start(self, ruleset: Ruleset, without: Collection[str] = ()) -> list[bytes]:
        """Load, then find out what the kernel can do. Raises KernelError.

        `without` names features (`probe`) to do without, as on a kernel that lacks them.
        Returns the addresses of sets that went because their rules are gone.
        """
        self._flags = Flags.NONE if OWNERSHIP in without else Flags.OWNED
        self._counts = COUNTING not in without
        self._wait_for_predecessor()
        left_over = load.left_over(ruleset, self._elements)
        self.load(ruleset, left_over)
        self.features = features(self._elements, bool(self._flags), self._counts, without)
        self.leaser.in_place = self.features.in_place
        self._watch.start()
        return left_over

    def load(self, ruleset: Ruleset, judged: Collection[bytes] = ()) -> None:
        """Bring the kernel to this ruleset. Raises KernelError; the old one then stays, or is brought back.

        Flows to `judged` are judged anew in the same step: an agent that dies here leaves none behind.

        In the loop's thread on purpose: for the milliseconds that it takes no question
        is answered, so none is answered by rules that are half gone.
        """
        self.leaser.flush()
        try:
            dropped, owned, loaded = load.load(self.fitting(ruleset), self._elements, self._flags, judged)
        except UnsettledError as error:
            # The kernel may have what is not in force here, and be the more open for it.
            if self._wanted is not None:
                self._changed(f"a load that may hold ({error})")
            raise
        for rule, address in dropped:
            self.ledger.drop(rule, address)
        self._note_owner(owned)
        if not owned:
            self._flags = Flags.NONE  # not tried again at each load
            self.features = replace(self.features, owner=False)
        if self._counts and not loaded.flow_sets:
            self._counts = False
            self.features = replace(self.features, counting=False)
        self._wanted = loaded

    def _note_owner(self, owned: bool) -> None:
        """Listen for others' changes where there can be any."""
        was, self._owned = self._owned, owned
        if owned and not was:
            self._watch.rest()
        elif was and not owned:  # nothing leads there; but if it comes to that, nothing must go unheard
            self._watch.listen()
            self._changed("somebody (the table is shared now)")

    def fitting(self, ruleset: Ruleset) -> Ruleset:
        """What of it this kernel takes."""
        return ruleset if self._counts else uncounted(ruleset)

    def _wait_for_predecessor(self) -> None:
        """An agent that has just been killed owns the table until the kernel has closed its last socket."""
        until = time.monotonic() + _PREDECESSOR_S
        while (owner := read_owner()[1]) not in (0, self._elements.port):
            if time.monotonic() > until:
                raise KernelError(
                    f"table inet dynallow is owned by another program (netlink port {owner})",
                    "`nft list table inet dynallow` names it; stop it first",
                    errno=errno.EPERM,
                )
            time.sleep(0.01)

    def close(self) -> None:
        """Let go of the sockets; table, sets and elements stay."""
        self.leaser.on_missing = None
        self._watch.close()
        self._elements.close()

    def prove(self) -> None:
        """As `Leaser.prove`. Who is fought for the table does well as long as he gets it back each time.

        His successor would need seconds for what he does in less than one, and the host would be open.
        """
        healed, self._healed = self.heals > self._healed, self.heals
        if not healed:
            self.leaser.prove()

    # ------------------------------------------------------------ looking

    def look(self) -> None:
        """Take note of what others have just done to the table."""
        if not self._owned:  # else nobody can have done anything
            self._watch.look()

    # ------------------------------------------------------------ healing

    def _changed(self, who: str) -> None:
        """Somebody touched the table: give no cached answer until it is whole again."""
        self.last_tampering = who
        self.leaser.suspend()
        self._on_tampering()
        self._again = True
        if not self._healing:
            self._healing = True
            log.warning("%s changed table inet dynallow; loading it again", who)
            self._tasks.start(self._heal())

    async def _heal(self) -> None:
        try:
            while self._again:
                self._again = False
                now = time.monotonic()
                calm = now - self._last_heal > _CALM_S
                self._heal_every_s = _HEAL_EVERY_S if calm else min(self._heal_every_s * 2, _HEAL_EVERY_MAX_S)
                if not calm:
                    await asyncio.sleep(self._heal_every_s)
                self._last_heal = time.monotonic()
                await self._load_again()
        finally:
            self._healing = False

    async def _load_again(self) -> None:
        """Chains first, so that nothing is open; then the leases go back into their sets."""
        async for attempt in tenacity.AsyncRetrying(
            # Whatever it was: while this does not end well, the host may be open.
            retry=tenacity.retry_if_exception_type(Exception),
            wait=tenacity.wait_random_exponential(multiplier=_HEAL_EVERY_S, max=_HEAL_EVERY_MAX_S),
            before_sleep=lambda state: log.error("loading the table again failed: %s", _why(state)),
        ):
            with attempt:
                if self._wanted is not None:
                    self.load(self._wanted)
                    restored = self.leaser.restore()
                    self._on_tampering()
                    if not self._again:  # else somebody was here again, and the next round resumes
                        self.leaser.resume()
                    self.heals += 1
                    log.warning("table inet dynallow is whole again, with %d leases", restored)


def _why(state: tenacity.RetryCallState) -> object:
    return state.outcome.exception() if state.outcome is not None else "unknown"
