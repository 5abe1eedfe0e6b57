"""Makes leases true: plans with the ledger, writes to the kernel, then commits.

The one place that holds both the ledger and the sets. Its promise to the
resolver (invariant 1): when `ensure` returns, every address that was not
refused is in the set of every rule that grants it, acknowledged.

    answer A ─ ensure ─┐                          ┌─ future A resolved ─ reply A
    answer B ─ ensure ─┤ queue ─ one transaction ─┤  (ledger committed in the
    answer C ─ ensure ─┘        send, ack         └─  same step as the ack)

The transaction runs at the end of the loop's turn, so that all answers that
arrived in it share it. Between the kernel's acknowledgement and the ledger's
commit there is no `await`: nobody sees one without the other.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dynallow.errors import KernelError, SetFullError
from dynallow.firewall.build import REVOKED_S
from dynallow.firewall.elements import COMMENT_MAX, Batch, Element
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.ruleset import REVOKED, family_of, set_name
from dynallow.lease.grant import Grant
from dynallow.lease.ledger import Ledger, Plan, Put, Revocation

log = logging.getLogger(__name__)

# The kernel's timers tick in jiffies (up to 10 ms); this keeps its deadline the later one.
_MARGIN_MS = 250
_MAX_PUTS = 512
_MAX_ROUNDS = 4
_FULL_RETRY_S = 2.0
# After a refusal nothing is tried for this long, so that failing costs the loop at most a tenth.
_REST_S = 0.08

_Waiting = tuple[Sequence[Put], asyncio.Future[None]]


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
    ) -> None:
        self.ledger = ledger
        self.in_place = in_place
        self.counts = Counts()
        self.on_missing: Callable[[], None] | None = None
        """Called when the kernel says that the table or a set is gone."""
        self._elements = elements
        self._describe = describe
        self._clock = clock
        self._queue: list[_Waiting] = []
        self._failing = False
        self._refusing: tuple[float, KernelError] | None = None
        self._epoch = 0  # a revocation starts a new one: grants of an old policy must not be planned again

    # ------------------------------------------------------------ granting

    async def ensure(self, grants: Sequence[Grant]) -> frozenset[bytes]:
        """Bring every grant's address into its set, and return once it is there.

        Returns the addresses that fit no more; they must be left out of the
        answer. Raises KernelError when the kernel refused: nothing may be
        handed out then.
        """
        retried = False
        epoch = self._epoch
        for _ in range(_MAX_ROUNDS):
            if epoch != self._epoch:
                raise KernelError("the policy changed while this answer waited")
            plan = self._plan(grants)
            if not plan.puts:
                # Planned and found complete in this very step: what the ledger says holds now.
                return plan.refused
            try:
                await self._write(plan.puts)
            except SetFullError:
                # Elements that lapsed are collected within a second or so (DESIGN 8.1)
                if retried:
                    raise
                retried = True
                await asyncio.sleep(_FULL_RETRY_S)
        raise KernelError("leases were taken away as fast as they were made")

    def _plan(self, grants: Sequence[Grant]) -> Plan:
        plan = self.ledger.plan(grants, self._clock())
        self.ledger.commit(plan.claims)
        return plan

    def _write(self, puts: Sequence[Put]) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        if not self._queue:
            loop.call_soon(self.flush)
        self._queue.append((puts, done))
        return done

    def flush(self) -> None:
        """Write all that is queued, in as few transactions as fit."""
        queue, self._queue = self._queue, []
        while queue:
            size = 0
            group: list[_Waiting] = []
            while queue and (not group or size + len(queue[0][0]) <= _MAX_PUTS):
                size += len(queue[0][0])
                group.append(queue.pop(0))
            self._write_group(group)

    def _write_group(self, group: list[_Waiting]) -> None:
        failure: KernelError | None = KernelError("writing to a set failed")
        try:
            self._try([put for puts, _ in group for put in puts])
            failure = None
        except KernelError as error:
            if len(group) > 1:
                # One answer's failure must not fail the others: each on its own.
                for single in group:
                    self._write_group([single])
                return
            failure = error
        finally:
            # Whatever happened, nobody is left waiting.
            for _, done in group:
                if not done.done():
                    if failure is None:
                        done.set_result(None)
                    else:
                        done.set_exception(failure)

    def _try(self, puts: list[Put]) -> None:
        """Commit, unless the kernel has just refused: a refusal holds up the loop for 8 ms."""
        if self._refusing is not None and self._clock() < self._refusing[0]:
            raise self._refusing[1]
        try:
            self._commit(puts)
        except KernelError as error:
            self._note(error)
            if not isinstance(error, SetFullError):
                self._refusing = (self._clock() + _REST_S, error)
            raise
        self._failing, self._refusing = False, None

    def _commit(self, puts: list[Put]) -> None:
        """One transaction, and the ledger in the same step."""
        now = self._clock()
        batch = Batch()
        for put in sorted(puts, key=lambda put: (put.rule, len(put.address))):
            element = self._element(put, now)
            if put.unrevoke:
                batch.remove(set_name(REVOKED, family_of(put.address)), put.address)
            if self.in_place:
                batch.add(element)
            else:
                batch.replace(element)
        self._elements.commit(batch)
        self.counts.transactions += 1
        self.counts.elements += len(puts)
        self.ledger.commit(puts)

    def _element(self, put: Put, now: float) -> Element:
        timeout_ms = math.ceil(max(put.deadline - now, 0.0) * 1000) + _MARGIN_MS
        name = set_name(put.rule, family_of(put.address))
        return Element(name, put.address, timeout_ms, comment(self._describe(put.name)))

    def _note(self, error: KernelError) -> None:
        """Count, and say it once until a transaction succeeds again."""
        if isinstance(error, SetFullError):
            self.counts.full += 1
        else:
            self.counts.refused += 1
        if not self._failing:
            self._failing = True
            log.error("the kernel refused a lease, answering SERVFAIL: %s", error)
        if self.on_missing is not None and not isinstance(error, SetFullError):
            self.on_missing()

    # ------------------------------------------------------------ revoking

    def revoke(self, unjustified: Callable[[str, bytes], bool], gone: Sequence[bytes] = ()) -> Revocation:
        """Take away every lease that only unjustified claims hold, and cut its flows.

        Runs to its end without an `await`. `gone` are addresses whose set went
        with its rule. Raises KernelError; then the ledger is unchanged.
        """
        self.flush()
        self._epoch += 1
        now = self._clock()
        revocation = self.ledger.plan_revocation(unjustified, now, gone)
        steps: list[Callable[[Batch], None]] = []
        for address in revocation.cut:
            element = Element(
                set_name(REVOKED, family_of(address)), address, REVOKED_S * 1000 + _MARGIN_MS, b""
            )
            steps.append(lambda batch, element=element: batch.replace(element))  # type: ignore[misc]
        for rule, address in revocation.elements:
            steps.append(
                lambda batch, rule=rule, address=address: batch.remove(  # type: ignore[misc]
                    set_name(rule, family_of(address)), address
                )
            )
        for start in range(0, len(steps), _MAX_PUTS):
            batch = Batch()
            for step in steps[start : start + _MAX_PUTS]:
                step(batch)
            self._elements.commit(batch)
        self.ledger.commit_revocation(revocation, unjustified, now + REVOKED_S)
        return revocation

    # ------------------------------------------------------------ restart, healing

    def restore(self) -> int:
        """Put every live lease back into its set, with its remaining time; returns how many."""
        self.flush()
        puts = [
            Put(rule, address, lease.deadline, lease.name, fresh=False, unrevoke=False)
            for rule, address, lease in self.ledger.leases(self._clock())
        ]
        for start in range(0, len(puts), _MAX_PUTS):
            self._commit(puts[start : start + _MAX_PUTS])
        return len(puts)

    def adopt(self, rules: Sequence[str], parse: Callable[[str], bytes]) -> int:
        """Take over the elements that the kernel holds; returns how many."""
        count = 0
        for family in (4, 6):
            for rule in rules:
                now = self._clock()
                for member in self._elements.dump(set_name(rule, family)):
                    if member.expires_ms:
                        deadline = now + member.expires_ms / 1000 - _MARGIN_MS / 1000
                        self.ledger.adopt(rule, member.address, deadline, parse(member.comment))
                        count += 1
            now = self._clock()
            for member in self._elements.dump(set_name(REVOKED, family)):
                self.ledger.adopt_revoked(member.address, now + member.expires_ms / 1000)
        return count


def comment(text: str) -> bytes:
    """A name as an element's comment; cut names end in "..." and are not read back."""
    if not (text.isascii() and text.isprintable()) or '"' in text or "\\" in text:
        return b"..."
    return text.encode() if len(text) <= COMMENT_MAX else text[: COMMENT_MAX - 3].encode() + b"..."
