"""A road and a ledger without upstream or kernel, a checkpoint of them, and what questions are then told.

Knows the rooms' doors. Must not know nft.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import dns.message
import dns.rdatatype

from dynallow.checkpoint.checkpoint import Checkpoint
from dynallow.errors import KernelError, UpstreamError
from dynallow.firewall.elements import comment
from dynallow.lease.grant import Grant, Limits
from dynallow.lease.ledger import Ledger
from dynallow.policy.names import Name, parse_name, to_text
from dynallow.policy.policy import Policy
from dynallow.resolver.answer import Scope, compose
from dynallow.resolver.cache import AnswerCache
from dynallow.resolver.hot import HotReplies
from dynallow.resolver.road import Road
from dynallow.resolver.terms import Terms
from dynallow.tasks import Tasks
from dynallow.wire.response import Response
from tests.unit.resolver.host import question

T = TypeVar("T")
BOOT = "this-boot"


class Gone:
    """Upstreams that answer nothing, and a kernel that takes nothing: only what is remembered can be told."""

    async def ask(self, name: Name, qtype: int, how: int) -> Response:
        raise UpstreamError("gone")

    async def ensure(self, grants: Sequence[Grant]) -> frozenset[bytes]:
        raise KernelError("gone")


class Life:
    """One agent's life, as far as it is remembered."""

    def __init__(
        self, directory: Path, allowed: Policy, *, limits: Limits | None = None, now: float = 1000.0
    ) -> None:
        self.limits = limits or Limits()
        self.now, self.wall = now, 5000.0
        self.ledger = Ledger(self.limits, [rule.name for rule in allowed.rules])
        gone: Any = Gone()
        self.road = Road(
            terms=Terms(allowed, self.limits, False, "nxdomain"),
            leaser=gone,
            upstreams=gone,
            cache=AnswerCache(100, 0.0),
            hot=HotReplies(100),
            tasks=Tasks(),
            clock=lambda: self.now,
            wall=lambda: self.wall,
        )
        self.checkpoint = Checkpoint(
            directory / "control.sock", self.road, self.ledger, lambda name: comment(to_text(name)), BOOT
        )

    def answered(self, name: str, qtype: str, response: Response, ttl_s: float = 400.0) -> None:
        """As if an upstream had said so now: leased, cached, its targets derived."""
        road, number, wire = self.road, dns.rdatatype.from_text(qtype), parse_name(name)
        verdict = road.decide(wire, number)
        scope = Scope(verdict, self.limits, road.own, False, road.terms.policy)
        answer = compose(response, wire, number, scope, now=self.now, left_s=None)
        for rule, addresses in answer.by_rule:
            for address in addresses:
                root = verdict.leads[0].root if verdict.leads else wire
                self.ledger.adopt(rule.name, address, self.now + ttl_s, root)
        road._lead(wire, verdict, answer)
        under = tuple(rule.index for rule in verdict.rules) if verdict.leads else ()
        road.cache.put((wire, number, 0, under), answer)

    def save(self) -> None:
        run(self.checkpoint.save())

    def begin(self, leases: Iterable[tuple[str, bytes, float, Name]]) -> int:
        """Start as an agent does, beside a kernel that holds these leases; how many."""
        self.checkpoint.read()
        adopted = 0
        for rule, address, deadline, name in leases:
            self.ledger.adopt(rule, address, deadline, name)
            adopted += 1
        self.checkpoint.recall_names(lambda rule, name: False)
        self.checkpoint.recall(adopted)
        self.checkpoint._recall(self.checkpoint._left)
        return adopted

    def told(self, name: str, qtype: str = "A") -> dns.message.Message:
        """The reply to a question."""
        return self.told_of([(name, qtype)])[name, qtype]

    def told_of(self, asked: Iterable[tuple[str, str]]) -> dict[tuple[str, str], dns.message.Message]:
        """The replies to questions for names and types."""

        async def ask() -> dict[tuple[str, str], bytes | None]:
            return {one: await self.road.walk(question(*one), udp=True) for one in asked}

        return {one: dns.message.from_wire(reply or b"") for one, reply in run(ask()).items()}

    def leases(self) -> list[tuple[str, bytes, float, Name]]:
        """What the kernel holds of it, as an agent adopts it."""
        return [(rule, at, lease.deadline, lease.name) for rule, at, lease in self.ledger.leases(self.now)]


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)
