"""From the settings to the servers that will be asked.

Reads resolv.conf for "system". Knows no sockets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dynallow.policy.patterns import Pattern
from dynallow.resolver.upstream.exchange import Exchange
from dynallow.resolver.upstream.pool import Upstreams, Zone
from dynallow.resolver.upstream.server import Server
from dynallow.resolver.upstream.system import system_servers
from dynallow.resolver.upstream.ways import stream_to
from dynallow.settings import Settings, Upstream
from dynallow.units import Address, Endpoint, Protocol


@dataclass(frozen=True, slots=True)
class _Ours:
    """The addresses at which dynallow itself answers port 53; a wildcard takes in every loopback one."""

    listen: tuple[Endpoint, ...]

    def __contains__(self, address: object) -> bool:
        return isinstance(address, Address) and any(
            address == own.address
            or (own.address.is_unspecified and own.address.version == address.version and address.is_loopback)
            for own in self.listen
            if own.port == 53
        )


class Named(NamedTuple):
    """A server with its address; equal where the same server is asked in the same way."""

    endpoint: Endpoint
    upstream: Upstream

    def __str__(self) -> str:
        return str(self.endpoint) if self.upstream.kind == "udp" else str(self.upstream)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The general servers, and those of each zone with its patterns."""

    servers: tuple[Named, ...]
    zones: tuple[tuple[tuple[Pattern, ...], tuple[Named, ...]], ...]

    def all(self) -> tuple[Named, ...]:
        """Every server once."""
        return tuple(dict.fromkeys((*self.servers, *(one for _, servers in self.zones for one in servers))))

    def endpoints(self) -> frozenset[Endpoint]:
        """Where they are."""
        return frozenset(server.endpoint for server in self.all())

    def ways(self) -> frozenset[tuple[Endpoint, Protocol]]:
        """What the chain must let the agent reach."""
        return frozenset((one.endpoint, over) for one in self.all() for over in one.upstream.protocols)

    def pool(self, exchange: Exchange, timeout_s: float) -> Upstreams:
        """The pool of these servers; one server in two places is one."""
        servers = {
            one: Server(
                one.endpoint,
                stream_to(one.upstream, exchange),
                str(one),
                exchange.guard(one.endpoint),
                authentic=one.upstream.kind in ("tls", "https"),
            )
            for one in self.all()
        }

        def pick(named: Iterable[Named]) -> Sequence[Server]:
            return [servers[one] for one in named]

        zones = [Zone(patterns, pick(endpoints)) for patterns, endpoints in self.zones]
        return Upstreams(exchange, pick(self.servers), zones, timeout_s)


def choose(settings: Settings) -> Chosen:
    """The servers that these settings name."""
    ours = _Ours(settings.resolver.listen)

    def named(upstreams: Iterable[Upstream]) -> tuple[Named, ...]:
        found: list[Named] = []
        for upstream in upstreams:
            if upstream.endpoint is None:
                found += map(_datagrams, system_servers(ours))
            elif upstream.kind == "udp":
                found.append(_datagrams(upstream.endpoint))
            else:
                found.append(Named(upstream.endpoint, upstream))
        return tuple(dict.fromkeys(found))

    zones = tuple((zone.names, named(zone.upstreams)) for zone in settings.resolver.zones)
    return Chosen(named(settings.resolver.upstreams), zones)


def _datagrams(endpoint: Endpoint) -> Named:
    """However the settings spell it."""
    return Named(endpoint, Upstream("udp", endpoint, "", "", str(endpoint)))
