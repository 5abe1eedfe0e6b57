"""Which server is asked, and which next.

Knows the servers' health; must not know what is asked or why. In all at most
three tries, and an answer or an error before glibc gives up (5 s): a client
that repeats its question costs more than one that is told SERVFAIL.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dynallow.errors import OverloadError, UpstreamError, WireError
from dynallow.policy.patterns import Pattern
from dynallow.resolver.upstream.asked import TurnedAwayError
from dynallow.resolver.upstream.datagrams import Target, target
from dynallow.resolver.upstream.exchange import Exchange
from dynallow.resolver.upstream.streams import Stream
from dynallow.units import Endpoint
from dynallow.wire import numbers as n
from dynallow.wire.response import Response

log = logging.getLogger(__name__)

_TRIES = 3
_TOTAL_S = 3.8
_KEPT_BACK = 1 / 8  # of the total, for each try that is still to come
# A server that failed is asked last for this long, doubled with each failure in a row.
_REST_S, _REST_MAX_S = 1.0, 30.0
_NS = 2
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRINUSE})


@dataclass(slots=True)
class Server:
    """An upstream server and how it has done so far."""

    endpoint: Endpoint
    stream: Stream | None = None
    """How it is asked; None: by datagrams."""
    name: str = ""
    """As the settings write it, where its endpoint does not say all."""
    target: Target = field(init=False, repr=False)
    asked: int = 0
    failed: int = 0
    failures_in_row: int = 0
    rest_until: float = 0.0
    failed_at: float = -math.inf
    latency_s: float | None = None
    last_error: str | None = None

    def __post_init__(self) -> None:
        self.target = target(self.endpoint)
        self.name = self.name or str(self.endpoint)

    def succeeded(self, latency_s: float) -> None:
        """Take note of an answer; latency is smoothed over about eight of them."""
        if self.failures_in_row:
            log.info("upstream %s answers again", self.name)
        self.failures_in_row, self.rest_until, self.failed_at = 0, 0.0, -math.inf
        self.latency_s = latency_s if self.latency_s is None else self.latency_s * 0.875 + latency_s * 0.125

    def fell_short(self, started: float, now: float, why: str) -> None:
        """Take note of a failed try. One break that many questions meet at once is one failure."""
        self.failed += 1
        self.last_error = why
        if not self.failures_in_row:
            log.warning("upstream %s: %s", self.name, why)
        if started < self.failed_at:
            return
        self.failed_at = now
        self.rest_until = now + min(_REST_S * 2.0**self.failures_in_row, _REST_MAX_S)
        self.failures_in_row = min(self.failures_in_row + 1, 16)

    def try_again(self, until: float) -> None:
        """It has rested: one question goes to see, the others wait for what comes of it elsewhere."""
        if self.failures_in_row:
            self.rest_until = max(self.rest_until, until)


@dataclass(frozen=True, slots=True)
class Zone:
    """Split DNS: names that these patterns match go to these servers."""

    patterns: tuple[Pattern, ...]
    servers: Sequence[Server]


@dataclass(slots=True)
class Upstreams:
    """All servers; `ask` is the whole interface."""

    exchange: Exchange
    servers: Sequence[Server]
    zones: Sequence[Zone] = ()
    timeout_s: float = 2.0

    def all(self) -> Iterable[Server]:
        """Every server once, those of the zones too."""
        seen = {id(server): server for server in self.servers}
        seen.update({id(server): server for zone in self.zones for server in zone.servers})
        return seen.values()

    async def ask(self, name: bytes, qtype: int) -> Response:
        """A usable response: NOERROR or NXDOMAIN, and no referral.

        Raises UpstreamError after three tries or 3.8 s; `reached` tells whether
        any server said anything at all. OverloadError when this host has no
        socket or memory left to ask with.
        """
        time = asyncio.get_running_loop().time
        started = time()
        end = started + _TOTAL_S
        reached, why = False, "no upstream server is configured"
        for number, server in enumerate(self._order(name, started)):
            patience = min(self.timeout_s, _share(end - started, _TRIES - 1 - number))
            server.asked += 1
            server.try_again(started + patience)
            try:
                if server.stream is None:
                    response = await self.exchange.ask(server.target, name, qtype, started + patience)
                else:
                    response = await server.stream.ask(name, qtype, started + patience)
                fault = _fault(response)
            except TimeoutError:
                fault = f"no answer in {patience:.1f} s"
            except TurnedAwayError as error:
                reached, fault = True, str(error.strerror)
            except OSError as error:
                if error.errno in _OURS:  # no server's fault
                    raise OverloadError(f"asking upstream: {error.strerror}") from error
                fault = error.strerror or type(error).__name__
            except WireError as error:
                reached, fault = True, f"malformed answer: {error}"
            else:
                if fault is None:
                    server.succeeded(time() - started)
                    return response
                reached = True
            began, started = started, time()
            server.fell_short(began, started, fault)
            why = f"{server.name}: {fault}"
        raise UpstreamError(why, reached=reached)

    def _order(self, name: bytes, now: float) -> list[Server]:
        """The servers to try: as configured, those that just failed last, three tries in all."""
        servers = self._zone_of(name) if self.zones else self.servers
        if len(servers) > 1:
            servers = sorted(servers, key=lambda server: server.rest_until > now)
        return [*servers, *servers, *servers][:_TRIES]

    def _zone_of(self, name: bytes) -> Sequence[Server]:
        """The servers of the zone whose pattern matches with the most labels, else the general ones."""
        matches = [
            (len(pattern.labels), zone.servers)
            for zone in self.zones
            for pattern in zone.patterns
            if pattern.matches(name)
        ]
        return max(matches, key=lambda match: match[0])[1] if matches else self.servers


def _share(left_s: float, later: int) -> float:
    """How long a try may take when `later` more shall have a chance in the time that is left."""
    return max(left_s - _TOTAL_S * _KEPT_BACK * later, left_s / (later + 1))


def _fault(response: Response) -> str | None:
    """Why a well-formed response is of no use; None when it is."""
    if response.answer and response.rcode == n.NOERROR:
        return None
    if response.questionless or response.rcode not in (n.NOERROR, n.NXDOMAIN):
        return f"rcode {response.rcode}"
    if response.rcode == n.NOERROR:
        kinds = {record.rtype for record in response.authority}
        if _NS in kinds and n.SOA not in kinds:
            return "a referral: it does not resolve for us"  # lame, or no recursion here
    return None
