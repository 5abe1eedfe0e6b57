"""In which order servers that know the same are asked.

Knows their health; must not know what is asked: time is an argument. The rule that
an administrator can rely on: as configured. Only who is down comes last, and who is
clearly slower than another, as far as measured, comes behind those that are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dynallow.resolver.upstream.server import Server

TRIES = 3
_RANK_EVERY_S = 1.0
# Clearly slower: by this factor, and by this much; below it nobody notices.
_FACTOR, _NOTICED_S = 3.0, 0.02
# While the first is slow, or not as configured, one question this often goes to another, to measure it.
_MEASURE_EVERY_S = 10.0


class Group:
    """The general servers, or those of a zone; `tries` is who gets a question."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.servers = servers
        self._tries: tuple[Server, ...] = ()
        self._good_until = -math.inf
        self._measure_at = -math.inf
        self._turn = 0

    def tries(self, now: float) -> tuple[Server, ...]:
        """The servers to try one after the other for a question that comes now."""
        return self._tries if now < self._good_until else self._rank(now)

    def changed(self) -> None:
        """A server went down or came back."""
        self._good_until = -math.inf

    def _rank(self, now: float) -> tuple[Server, ...]:
        """Put them in order anew; for the question that comes now another may be first."""
        self._good_until = now + _RANK_EVERY_S
        up = [server for server in self.servers if server.up]
        limit_s = _limit(up)
        order = sorted(up, key=lambda server: (server.measured_s or 0.0) > limit_s)
        down = [server for server in self.servers if not server.up]
        self._tries = ((*order, *down) * TRIES)[:TRIES]
        if len(order) < 2 or now < self._measure_at:
            return self._tries
        if order[0] is up[0] and (order[0].measured_s or 0.0) <= _NOTICED_S:
            return self._tries
        self._measure_at = now + _MEASURE_EVERY_S
        self._turn += 1
        other = order[1 + self._turn % (len(order) - 1)]
        return (other, *(server for server in self._tries if server is not other), other)[:TRIES]


def _limit(servers: Sequence[Server]) -> float:
    """The latency beyond which a server is clearly slower than the fastest."""
    known = [server.measured_s for server in servers if server.measured_s is not None]
    return max(_FACTOR * min(known), min(known) + _NOTICED_S) if known else math.inf
