"""Notices that a rule expires while the agent runs.

Rules end by the wall clock (`expires` is a day), which may be set at any time: a timer for the moment would
sleep through that. So while a rule has an end at all, the clock is looked at five times a second; else not.
Knows rules and the clock; must not know what follows from an end. Keeps: each end is told once it was dealt
with, and again where that failed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from dynallow.errors import KernelError
from dynallow.policy.rules import Rule

log = logging.getLogger(__name__)

_LOOK_S = 0.2


class Expiries:
    """Calls `expire` with the names of the rules that have just expired; it may raise KernelError."""

    def __init__(
        self, expire: Callable[[frozenset[str]], None], wall: Callable[[], float] = time.time
    ) -> None:
        self._expire = expire
        self._wall = wall
        self._ending: tuple[Rule, ...] = ()
        self._expired: frozenset[str] = frozenset()
        self._any = asyncio.Event()

    def follow(self, rules: Sequence[Rule], wall: float) -> None:
        """These are in force; those that have expired at `wall` are dealt with."""
        self._ending = tuple([rule for rule in rules if rule.expires_at is not None])
        self._expired = self._at(wall)
        if self._ending:
            self._any.set()
        else:
            self._any.clear()

    async def watch(self) -> None:
        """Look at the clock for ever."""
        while True:
            await self._any.wait()
            await asyncio.sleep(_LOOK_S)
            self.look()

    def look(self) -> None:
        """Tell of what has expired since the last look. A clock that is set back lets a rule begin again."""
        expired = self._at(self._wall())
        if fresh := expired - self._expired:
            try:
                self._expire(fresh)
            except KernelError as error:
                log.error("leases of expired rules could not be revoked, it is tried again: %s", error)
                return
        self._expired = expired

    def _at(self, wall: float) -> frozenset[str]:
        return frozenset([rule.name for rule in self._ending if rule.expired(wall)])
