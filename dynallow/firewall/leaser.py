"""Makes leases true: plans with the ledger, writes to the kernel, then commits.

The one place that holds both the ledger and the sets. Its promise to the
resolver (invariant 1): when `ensure` returns, every address that was not
refused is in the set of every rule that grants it, acknowledged.

    answer A ─ ensure ─┐                          ┌─ promise A kept ─ reply A
    answer B ─ ensure ─┤ queue ─ one transaction ─┤  (ledger committed in the
    answer C ─ ensure ─┘        send, ack         └─  same step as the ack)

The transaction runs when all answers that arrived together have come so far, so
that they share it; what is more than 128 elements waits for the loop's next turn.
Between the kernel's acknowledgement and the ledger's commit there is no `await`:
nobody sees one without the other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from math import ceil

from dynallow.errors import DecideAgainError, KernelError, SetBusyError, SetFullError, TableMissingError
from dynallow.firewall.build import REVOKED_S
from dynallow.firewall.elements import Batch, Element, comment, element, lasting
from dynallow.firewall.inventory import take_inventory
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.present import read_counts
from dynallow.firewall.refusals import Refusals
from dynallow.firewall.revoking import release, revoke_elements
from dynallow.firewall.ruleset import REVOKED, family_of, set_name
from dynallow.lease.grant import Grant
from dynallow.lease.ledger import Ledger
from dynallow.lease.plan import Put, Revocation, Room, room_of
from dynallow.tasks import Promise

log = logging.getLogger(__name__)

# The kernel's timers tick in jiffies (up to 10 ms); this keeps its deadline the later one.
_MARGIN_MS = 250
_MARGIN_S = _MARGIN_MS / 1000
# Elements in one transaction, and in one turn of the loop: about a millisecond of both packing and kernel.
_MAX_PUTS = 128
_FULL_RETRY_S = 2.0
_BUSY_RETRY_S = 0.1  # longer than `Refusals` would refuse it
_HEAL_PATIENCE_S = 2.0

_Waiting = tuple[Sequence[Put], Sequence[Room], Promise[None]]
"""What is to be written, the room that it needs, and who waits for it."""


@dataclass(slots=True)
class Counts:
    """What the writer did; plain integers, read by the metrics."""

    transactions: int = 0
    elements: int = 0
    refused: int = 0
    full: int = 0


class Leaser:
    """Leases for the resolver; see the module's text for the order of things."""

    def __init__(
        self,
        ledger: Ledger,
        elements: ElementSocket,
        describe: Callable[[bytes], str],
        *,
        in_place: bool,
        clock: Callable[[], float] = time.monotonic,
        soon: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        """`soon`: as the loop's `call_soon`, which it is by default; `Tasks.soon` takes a turn less."""
        self.ledger = ledger
        self.in_place = in_place
        self.counts = Counts()
        self.on_missing: Callable[[str], None] | None = None
        """Called with the reason when the sets may not be what the ledger says."""
        self._elements = elements
        self._describe = describe
        self._clock = clock
        self._soon = soon
        self._margin_ms = _MARGIN_MS
        self._queue: list[_Waiting] = []
        self._alone: deque[_Waiting] = deque()
        """Answers whose group was refused, to be written one by one."""
        self._failing = False
        """The last transaction was refused, which is said once."""
        self._refusals = Refusals()
        self._whole = asyncio.Event()
        self._whole.set()
        self._epoch = 0  # a revocation starts a new one: grants of an old policy must not be planned again

    # ------------------------------------------------------------ granting

    async def ensure(self, grants: Sequence[Grant]) -> frozenset[bytes]:
        """Bring every grant's address into its set, and return once it is there.

        Returns the addresses that fit no more; they must be left out of the
        answer. Raises KernelError when the kernel refused: nothing may be
        handed out then.
        """
        epoch = self._epoch
        for last in (False, True):
            if not self._whole.is_set():
                await self._wait_until_whole()
            self._must_be(epoch)
            puts, claims, refused, room = self.ledger.plan(grants, self._clock())
            if claims:
                self.ledger.commit(claims)
            if not puts:
                return refused
            try:
                if len(puts) <= _MAX_PUTS:
                    self.ledger.reserve(room)
                    await self._write(puts, room)
                else:
                    await self._write_in_parts(puts, epoch)
            except (SetFullError, SetBusyError) as error:
                if last:
                    raise
                # Elements that lapsed are collected within a second or so (DESIGN 8.1)
                await asyncio.sleep(_FULL_RETRY_S if isinstance(error, SetFullError) else _BUSY_RETRY_S)
            else:
                self._must_be(epoch)
                return refused
        raise AssertionError("the second round returns or raises")

    async def _write_in_parts(self, puts: Sequence[Put], epoch: int) -> None:
        """Write what is too much for one transaction.

        Room is kept for all of it; a part's is given back when that is settled.
        """
        done = 0
        self.ledger.reserve(room_of(puts))
        try:
            while done < len(puts):
                self._must_be(epoch)
                part = puts[done : done + _MAX_PUTS]
                done += len(part)
                await self._write(part, room_of(part))
        finally:
            self.ledger.release(room_of(puts[done:]))

    def _must_be(self, epoch: int) -> None:
        """Grants of a policy that is gone must not be planned, nor taken to hold."""
        if epoch != self._epoch:
            raise DecideAgainError("leases were revoked while this answer waited")

    def suspend(self) -> None:
        """The table is not what the ledger thinks: nothing holds until `resume`."""
        self._whole.clear()

    def resume(self) -> None:
        """The table is whole again, with every lease in it."""
        self._refusals.clear()
        self._whole.set()

    def prove(self) -> None:
        """Have the kernel acknowledge a transaction that leaves no trace, as it does a lease's.

        Raises KernelError when it does not, or when no lease could be made for another reason.
        """
        if not self._whole.is_set():
            raise KernelError("the table was taken away and is not back yet")
        batch = Batch()
        batch.remove(set_name(REVOKED, 4), bytes(4))
        self._elements.commit(batch)

    async def _wait_until_whole(self) -> None:
        await asyncio.sleep(0)  # a timeout needs a task, and what never waited has none yet
        try:
            async with asyncio.timeout(_HEAL_PATIENCE_S):
                await self._whole.wait()
        except TimeoutError:
            raise KernelError("the table was taken away and is not back yet") from None

    def _write(self, puts: Sequence[Put], room: Sequence[Room]) -> Promise[None]:
        """Have them written with this turn's others; their room, which is reserved, is given back then."""
        if not self._queue and not self._alone:
            (self._soon or asyncio.get_running_loop().call_soon)(self._flush_some)
        done: Promise[None] = Promise()
        self._queue.append((puts, room, done))
        return done

    def flush(self) -> None:
        """Write all that is queued, here and now."""
        while self._queue or self._alone:
            self._settle(self._next_group())

    def _flush_some(self) -> None:
        """Write what fits one transaction; the rest waits for the next turn of the loop."""
        try:
            if self._queue or self._alone:
                self._settle(self._next_group())
        finally:
            # Whatever that met: who is still in the queue is not left there.
            if self._queue or self._alone:
                asyncio.get_running_loop().call_soon(self._flush_some)

    def _next_group(self) -> list[_Waiting]:
        """What comes next in one transaction."""
        if self._alone:
            return [self._alone.popleft()]
        size = count = 0
        for puts, _, _ in self._queue:
            size += len(puts)
            if count and size > _MAX_PUTS:
                break
            count += 1
        group, self._queue = self._queue[:count], self._queue[count:]
        return group

    def _settle(self, group: list[_Waiting]) -> None:
        """Write a group, and tell all who wait; whatever happens, nobody is left waiting."""
        failure: KernelError | None = KernelError("writing to a set failed")
        try:
            self._try([put for puts, _, _ in group for put in puts])
            failure = None
        except KernelError as error:
            if len(group) > 1:
                # One answer's failure must not fail the others: each on its own, and each in a turn
                # of its own, because a refusal holds up the loop for 8 ms.
                self._alone.extend(group)
                group = []
            failure = error
        finally:
            for _, room, done in group:
                self.ledger.release(room)
                if not done.done():
                    if failure is None:
                        done.set_result(None)
                    else:
                        done.set_exception(failure)
            failure = None  # it has come through here, so it holds this frame: see `Promise`

    def _try(self, puts: list[Put]) -> None:
        """Commit, unless the kernel has just refused the like."""
        self._refusals.check(puts, self._clock())
        try:
            self._commit(puts, in_place=self.in_place)
        except KernelError as error:
            self._note(error)
            self._refusals.note(puts, error, self._clock())
            raise
        self._failing = False

    def _commit(self, puts: Sequence[Put], *, in_place: bool) -> None:
        """One transaction, and the ledger in the same step."""
        now = self._clock()
        batch = Batch()
        shared: dict[tuple[bytes, float], bytes] = {}
        for rule, latest in self.ledger.latest(puts).items():
            names = {4: set_name(rule, 4), 16: set_name(rule, 6)}
            packed: dict[int, list[bytes]] = {4: [], 16: []}
            for _, address, deadline, name, _, unrevoke in latest.values():
                lasts = shared.get((name, deadline))
                if lasts is None:
                    timeout_ms = self._margin_ms + (ceil((deadline - now) * 1000) if deadline > now else 0)
                    lasts = shared[name, deadline] = lasting(timeout_ms, comment(self._describe(name)))
                if unrevoke:
                    batch.remove(set_name(REVOKED, family_of(address)), address)
                size = len(address)
                if not in_place:
                    batch.remove(names[size], address)
                packed[size].append(element(address, lasts))
            for size, elements in packed.items():
                batch.add_all(names[size], elements)
        self._elements.commit(batch)
        self.counts.transactions += 1
        self.counts.elements += len(puts)
        self.ledger.commit(puts)

    def _note(self, error: KernelError) -> None:
        """Count, and say it once until a transaction succeeds again."""
        if isinstance(error, SetFullError):
            self.counts.full += 1
        else:
            self.counts.refused += 1
        if not self._failing:
            self._failing = True
            log.error("the kernel refused a lease, answering SERVFAIL: %s", error)
        if self.on_missing is not None and not isinstance(error, SetFullError | SetBusyError):
            self.on_missing(f"somebody (writing a lease failed: {error})")

    # ------------------------------------------------------------ revoking

    def revoke(self, unjustified: Callable[[str, bytes], bool], gone: Sequence[bytes] = ()) -> Revocation:
        """Take away every lease that only unjustified claims hold; its flows are judged anew then.

        Runs to its end without an `await`. `gone` are addresses that lost a lease otherwise: with
        its rule, or at its end. Raises KernelError; then the ledger is unchanged.
        """
        self.flush()
        self._epoch += 1
        now = self._clock()
        unjustified = cache(unjustified)  # asked for twice, and the policy is not cheap to ask
        revocation = self.ledger.plan_revocation(unjustified, now, gone)
        try:
            revoke_elements(self._elements, revocation, REVOKED_S * 1000 + _MARGIN_MS)
        except KernelError as error:
            # Some of it may have happened: what the ledger still says must be made true again.
            if self.on_missing is not None:
                self.on_missing(f"a revocation (it failed half-way: {error})")
            raise
        # The kernel's block must not outlive what is known of it: a lease in that gap would be dead.
        self.ledger.commit_revocation(revocation, unjustified, now + REVOKED_S + 4 * _MARGIN_S)
        return revocation

    def block(self, addresses: Sequence[bytes]) -> None:
        """Have flows to these judged anew for as long again, leased or not. Raises KernelError."""
        now = self._clock()
        revoke_elements(self._elements, Revocation((), tuple(addresses)), REVOKED_S * 1000 + _MARGIN_MS)
        for address in addresses:
            self.ledger.adopt_revoked(address, now + REVOKED_S + 4 * _MARGIN_S)

    @property
    def epoch(self) -> int:
        """Another one after each revocation."""
        return self._epoch

    def release(self, addresses: Sequence[bytes]) -> None:
        """Let flows to these count as established again, but for those marked. Raises KernelError."""
        release(self._elements, addresses)
        self.ledger.forget_revoked(addresses)

    # ------------------------------------------------------------ restart, healing

    def restore(self) -> int:
        """Put every block and every live lease back, with its remaining time; returns how many leases.

        What is there as it ought to be stays as it is: no lease gets shorter by it.
        """
        self.flush()
        now = self._clock()
        blocked = list(self.ledger.revoked(now))
        for start in range(0, len(blocked), _MAX_PUTS):
            batch = Batch()
            for address, until in blocked[start : start + _MAX_PUTS]:
                timeout_ms = ceil((until - now) * 1000)
                batch.replace(Element(set_name(REVOKED, family_of(address)), address, timeout_ms, b""))
            self._elements.commit(batch)
        held = take_inventory(self._elements, self.ledger.rules(), self._clock())
        leases = list(self.ledger.leases(self._clock()))
        missing: list[Put] = []
        wrong: list[Put] = []
        for rule, address, lease in leases:
            put = (rule, address, lease.deadline, lease.name, False, False)
            there = held.pop((rule, address), None)
            if there is None:
                missing.append(put)
            elif not there.bears(lease.deadline, comment(self._describe(lease.name))):
                wrong.append(put)
        # Refreshed in place an element keeps its comment, whoever wrote that.
        for puts, in_place in ((missing, self.in_place), (wrong, False)):
            for start in range(0, len(puts), _MAX_PUTS):
                self._commit(puts[start : start + _MAX_PUTS], in_place=in_place)
        for (_, address), stranger in held.items():  # somebody's hand: no answer has earned it
            with suppress(TableMissingError):  # it has lapsed meanwhile
                self._remove(stranger.set_name, address)
        return len(leases)

    def adopt(self, rules: Sequence[str], parse: Callable[[str], bytes]) -> int:
        """Take over the elements that the kernel holds; returns how many."""
        count, counts = 0, read_counts()
        for family in (4, 6):
            for rule in rules:
                now, name = self._clock(), set_name(rule, family)
                members = self._elements.dump(name, counts.get(name))
                # What is put back later must not end before what was read, however long the reading took.
                self._margin_ms = max(self._margin_ms, _MARGIN_MS + ceil((self._clock() - now) * 1000))
                for member in members:
                    if not member.expires_ms:
                        # No lease of ours is without an end: somebody's hand, open for ever.
                        self._remove(name, member.address)
                    else:
                        deadline = now + member.expires_ms / 1000 - _MARGIN_S
                        self.ledger.adopt(rule, member.address, deadline, parse(member.comment))
                        count += 1
            for member in self._elements.dump(set_name(REVOKED, family)):
                until = self._clock() + member.expires_ms / 1000 + 4 * _MARGIN_S
                self.ledger.adopt_revoked(member.address, until)
        return count

    def _remove(self, name: str, address: bytes) -> None:
        batch = Batch()
        batch.remove(name, address)
        self._elements.commit(batch)
