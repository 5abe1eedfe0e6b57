"""Flows that outlive their leases: a name is asked for again while somebody talks to an address of its.

    leases about to lapse ─ a living flow to them, from here, on the rule's ports? ─ the name is asked

A program that keeps its connection and opens another to the same address without asking (connection pools,
QUIC migration, own caches) is let through as long as the name, asked by the agent, still gives that address.
An address that the name does not give lapses as ever; its flows go on by conntrack, new ones are denied.

Knows leases, flows and the road; must not know records or sets. Keeps: nothing is granted here. All that
happens is a question on the ordinary road: policy, validation, budgets, and leases that only get longer.
Bounded: `_AT_ONCE` names a round, half of them of one rule at most, `_OF_A_RULE` of a rule in ten minutes;
the flows are read in a thread, with a twentieth of a core at most.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Collection, Container, Iterable
from typing import NamedTuple

from dynallow.firewall import conntrack
from dynallow.firewall.build import JUDGED_MARK
from dynallow.firewall.flows import TCP, UDP
from dynallow.firewall.table import Table
from dynallow.lease.ledger import Ledger
from dynallow.resolver.counts import LivingCounts
from dynallow.resolver.road import Road
from dynallow.settings import Settings
from dynallow.tasks import Tasks
from dynallow.units import PortRange
from dynallow.wire import numbers as n

log = logging.getLogger(__name__)

_ROUND_S = (0.5, 10.0)
"""The shortest and the longest time between two looks; in between a sixth of the shortest lease."""
_AHEAD = 3
"""A lease is looked at in so many rounds before it lapses, and its name asked in each if need be."""
_AT_ONCE = 64
_OF_A_RULE, _WINDOW_S = 1024, 600.0
_LAPSED_EVERY_S = 30.0
_LOOK_SHARE = 20
_SLICE = 2000


class _Due(NamedTuple):
    deadline: float
    rule: str
    address: bytes
    name: bytes


class Living:
    """Looks for ever; `follow` before."""

    def __init__(self, table: Table, ledger: Ledger, road: Road, own: Container[bytes], tasks: Tasks) -> None:
        self.counts = LivingCounts()
        self._table = table
        self._ledger = ledger
        self._road = road
        self._own = own
        self._tasks = tasks
        self._keeps = True
        self._ports: dict[str, tuple[PortRange, ...]] = {}
        self._round_s = _ROUND_S[1]
        self._asked: dict[tuple[str, bytes], tuple[float, int]] = {}
        """By lease: until when it was to live, and how often its name was asked for that."""
        self._spent: Counter[str] = Counter()
        self._window_ends = 0.0
        self._lapsed_at = 0.0

    def follow(self, settings: Settings) -> None:
        """These are in force now."""
        self._keeps = settings.lease.keep_alive
        self._ports = {rule.name: rule.ports for rule in settings.rules}
        shortest, longest = _ROUND_S
        self._round_s = min(max(settings.lease.min / 6, shortest), longest)

    async def watch(self) -> None:
        """Round after round; each reads flows for a small part of the time at most."""
        while True:
            took_s = await self.look()
            await asyncio.sleep(max(self._round_s, _LOOK_SHARE * took_s))

    async def look(self) -> float:
        """One round; how many seconds of CPU the reading of the flows took."""
        now = self._road.clock()
        due = await self._due(now)
        lapsed: set[bytes] = set()
        if len(self._ledger.lapsed) and now >= self._lapsed_at + _LAPSED_EVERY_S:
            self._lapsed_at = now
            lapsed = self._ledger.lapsed.addresses()
        wanted = lapsed | {one.address for one in due}
        if not wanted:
            return 0.0
        try:
            ends, took_s = await asyncio.to_thread(self._read, wanted)
        except OSError as error:
            self.counts.unread += 1
            log.debug("flows cannot be read: %s", error)
            return 0.0
        self._ledger.lapsed.keep(lapsed, ends)
        self._ask_for([one for one in due if self._is_used(one.rule, ends.get(one.address, ()))], now)
        return took_s

    async def _due(self, now: float) -> list[_Due]:
        """The leases that are about to lapse, a slice at a time."""
        if not self._keeps:
            return []
        until = now + _AHEAD * self._round_s
        found: list[_Due] = []
        for rule in self._ledger.rules():
            held = self._ledger.held(rule)
            addresses = list(held)
            for start in range(0, len(addresses), _SLICE):
                found += [
                    _Due(lease.deadline, rule, address, lease.name)
                    for address in addresses[start : start + _SLICE]
                    if (lease := held.get(address)) is not None
                    and now < lease.deadline <= until
                    and lease.name
                ]
                await asyncio.sleep(0)
        return found

    def _read(self, wanted: Collection[bytes]) -> tuple[dict[bytes, set[tuple[int, int]]], float]:
        """In a thread: to which (protocol, port) of these a flow from here lives, and its CPU seconds."""
        began = time.thread_time()
        ends: dict[bytes, set[tuple[int, int]]] = {}
        for flow in conntrack.flows_to(wanted, filtered=self._table.features.conntrack_filter):
            if flow.alive and flow.mark != JUDGED_MARK and flow.source in self._own:
                ends.setdefault(flow.address, set()).add((flow.protocol, flow.port))
        return ends, time.thread_time() - began

    def _is_used(self, rule: str, ends: Iterable[tuple[int, int]]) -> bool:
        """Whether one of these (protocol, port) is the rule's."""
        return any(
            (protocol == TCP if opened.protocol == "tcp" else protocol == UDP)
            and opened.first <= port <= opened.last
            for protocol, port in ends
            for opened in self._ports.get(rule, ())
        )

    def _ask_for(self, due: list[_Due], now: float) -> None:
        """Have the names of these asked for, the most urgent first, as far as bounds allow."""
        if now >= self._window_ends:
            self._window_ends = now + _WINDOW_S
            self._spent.clear()
        before, self._asked = self._asked, {}
        by_name: dict[tuple[str, bytes, int], list[_Due]] = {}
        for one in sorted(due):
            deadline, tries = before.get((one.rule, one.address), (0.0, 0))
            tries = tries if deadline == one.deadline else 0
            self._asked[one.rule, one.address] = (one.deadline, min(tries + 1, _AHEAD))
            if tries < _AHEAD:
                by_name.setdefault((one.rule, one.name, len(one.address)), []).append(one)
        share: Counter[str] = Counter()
        for (rule, name, size), leases in by_name.items():
            full = share.total() >= _AT_ONCE or share[rule] >= _AT_ONCE // 2
            if full or self._spent[rule] >= _OF_A_RULE:
                self.counts.passed_over += 1
                continue
            share[rule] += 1
            self._spent[rule] += 1
            self.counts.asked += 1
            self._tasks.start(self._ask(rule, name, n.A if size == 4 else n.AAAA, leases))

    async def _ask(self, rule: str, name: bytes, qtype: int, leases: list[_Due]) -> None:
        await self._road.ask_anew(name, qtype, rule)
        self.counts.kept += sum(self._ledger.deadline(rule, one.address) > one.deadline for one in leases)
