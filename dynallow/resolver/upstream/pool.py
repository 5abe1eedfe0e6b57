"""A question goes to one server, and to the next; who is down is looked after in the background.

Must not know what is asked or why; who is first is `order.py`'s. In all at most
three tries, and an answer or an error before glibc gives up (5 s): a client
that repeats its question costs more than one that is told SERVFAIL. Nobody waits
long for a server while another is up, nor for one that is known to be down.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dynallow.errors import OverloadError, UpstreamError, WireError
from dynallow.policy.patterns import Pattern
from dynallow.resolver.upstream.asked import TurnedAwayError
from dynallow.resolver.upstream.exchange import Exchange
from dynallow.resolver.upstream.order import TRIES, Group
from dynallow.resolver.upstream.server import Server
from dynallow.wire import numbers as n
from dynallow.wire.response import Response

_TOTAL_S = 3.8
_LAST = TRIES - 1
_KEPT_BACK = 1 / 8  # of the total, for each try that is still to come
# The first probe waits until what failed at the same moment has failed.
_PROBE_AFTER_S, _PROBE_EVERY_S, _PROBE_S = 0.1, 0.5, 1.0
# What every recursor answers by itself (RFC 6303), and who is none refuses.
_LOCAL, _PTR = b"\x011\x010\x010\x03127\x07in-addr\x04arpa\0", 12
_NS = 2
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRINUSE})


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
    _general: Group = field(init=False)
    _zoned: list[tuple[tuple[Pattern, ...], Group]] = field(init=False)
    _probes: dict[Server, asyncio.Task[None]] = field(default_factory=dict)
    _closed: bool = False

    def __post_init__(self) -> None:
        self._general = Group(self.servers)
        self._zoned = [(zone.patterns, Group(zone.servers)) for zone in self.zones]

    def close(self) -> None:
        """These servers are no longer ours: questions on their way may end, but nobody is looked after."""
        self._closed = True
        for probe in self._probes.values():
            probe.cancel()

    def all(self) -> Iterable[Server]:
        """Every server once, those of the zones too."""
        seen = {id(server): server for server in self.servers}
        seen.update({id(server): server for zone in self.zones for server in zone.servers})
        return seen.values()

    async def ask(self, name: bytes, qtype: int, how: int = 0) -> Response:
        """A usable response: NOERROR or NXDOMAIN, and no referral.

        `how` is what `build_query` takes. AD is set only where nobody on the way can have set it.

        Raises UpstreamError after three tries or 3.8 s; `reached` tells whether
        any server said anything at all. OverloadError when this host has no
        socket or memory left to ask with.
        """
        time = asyncio.get_running_loop().time
        started = time()
        end = started + _TOTAL_S
        reached, why = False, "no upstream server is configured"
        tries = self._tries(name, qtype, started)
        for number, server in enumerate(tries):
            # Here and in `_share` no min() or max(): each costs as much as ten comparisons.
            share_s, patience_s = _share(end - started, _LAST - number), self._patience(tries, number)
            longest_s = share_s if share_s < self.timeout_s else self.timeout_s
            latest = started + longest_s
            deadline = started + patience_s if patience_s < longest_s else latest
            server.asked += 1
            try:
                if server.stream is None:
                    response = await self.exchange.ask(server.target, name, qtype, deadline, latest, how)
                else:
                    response = await server.stream.ask(name, qtype, deadline, how)
                fault = _fault(response)
            except TimeoutError:
                fault = f"no answer in {time() - started:.1f} s"
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
                    now = time()
                    server.succeeded(now - started)
                    if not server.up:
                        self._came_back(server, now)
                    if response.flags & n.AD and not server.authentic:
                        return response._replace(flags=response.flags & ~n.AD)
                    return response
                reached = True
            asked_at, started = started, time()
            if server.fell_short(asked_at, started, fault):
                self._look_after(server)
            why = f"{server.name}: {fault}"
        raise UpstreamError(why, reached=reached)

    def _tries(self, name: bytes, qtype: int, now: float) -> tuple[Server, ...]:
        """The servers to try, three tries in all."""
        if not self._zoned:
            return self._general.tries(now)
        if qtype == n.DS and name[0]:
            name = name[name[0] + 1 :]  # a zone's DS is its parent's to tell (RFC 4035 section 3.1.4.1)
        return self._group_of(name).tries(now)

    def _group_of(self, name: bytes) -> Group:
        """The servers of the zone whose pattern matches with the most labels, else the general ones."""
        matches = [
            (len(pattern.labels), group)
            for patterns, group in self._zoned
            for pattern in patterns
            if pattern.matches(name)
        ]
        return max(matches, key=lambda match: match[0])[1] if matches else self._general

    def _patience(self, tries: Sequence[Server], number: int) -> float:
        """How long this try may wait for a sign of life."""
        server = tries[number]
        if not server.up:  # it may come back while this question waits: then the next try finds it
            return _TOTAL_S / TRIES
        if number < _LAST and (following := tries[number + 1]).up and following is not server:
            return server.soon_s
        return self.timeout_s

    # ------------------------------------------------------------ who is down

    def _look_after(self, server: Server) -> None:
        """It is down: asked last from now on, and probed until it is there again."""
        self._reorder()
        if not self._closed and server not in self._probes:
            self._probes[server] = self.exchange.tasks.start(self._probe(server))

    def _came_back(self, server: Server, now: float) -> None:
        server.came_back(now)
        self._reorder()

    def _reorder(self) -> None:
        self._general.changed()
        for _, group in self._zoned:
            group.changed()

    async def _probe(self, server: Server) -> None:
        """Ask it what is no client's question (invariant 7) until it says anything; one at a time."""
        time = asyncio.get_running_loop().time
        try:
            await asyncio.sleep(_PROBE_AFTER_S)
            while not server.up:
                began = time()
                if server.rest_until > began:
                    await asyncio.sleep(server.rest_until - began)
                elif await self._is_there(server, began + _PROBE_S):
                    if not server.up:
                        self._came_back(server, time())
                else:
                    server.announce()
                    await asyncio.sleep(began + _PROBE_EVERY_S - time())  # at once after a silent one
        finally:
            del self._probes[server]

    async def _is_there(self, server: Server, deadline: float) -> bool:
        """Whether it says anything, be it no."""
        try:
            if server.stream is None:
                await self.exchange.ask(server.target, _LOCAL, _PTR, deadline)
            else:
                await server.stream.ask(_LOCAL, _PTR, deadline)
        except (OSError, WireError):  # TimeoutError is one of them
            return False
        return True


def _share(left_s: float, later: int) -> float:
    """How long a try may take when `later` more shall have a chance in the time that is left."""
    most_s, even_s = left_s - _TOTAL_S * _KEPT_BACK * later, left_s / (later + 1)
    return most_s if most_s > even_s else even_s


def _fault(response: Response) -> str | None:
    """Why a well-formed response is of no use; None when it is."""
    if response.answer and response.rcode == n.NOERROR:
        return None
    if response.questionless or response.rcode not in (n.NOERROR, n.NXDOMAIN):
        return f"rcode {response.rcode}"
    if response.rcode == n.NOERROR:
        kinds = {record[1] for record in response.authority}
        if _NS in kinds and n.SOA not in kinds:
            return "a referral: it does not resolve for us"  # lame, or no recursion here
    return None
