"""From the settings to the servers that will be asked.

Reads resolv.conf for "system"; transports that are not in force yet are left
out (the settings' check says so). Knows no sockets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dynallow.policy.patterns import Pattern
from dynallow.resolver.upstream.exchange import Exchange
from dynallow.resolver.upstream.pool import Server, Upstreams, Zone
from dynallow.resolver.upstream.system import system_servers
from dynallow.settings import Settings, Upstream
from dynallow.units import Address, Endpoint


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


@dataclass(frozen=True, slots=True)
class Chosen:
    """The general servers, and those of each zone with its patterns."""

    servers: tuple[Endpoint, ...]
    zones: tuple[tuple[tuple[Pattern, ...], tuple[Endpoint, ...]], ...]

    def endpoints(self) -> frozenset[Endpoint]:
        """Every server that the agent may ask: what the chain must let it reach."""
        return frozenset(self.servers).union(*(servers for _, servers in self.zones))

    def pool(self, exchange: Exchange, timeout_s: float) -> Upstreams:
        """The pool of these servers; one server in two places is one."""
        servers = {endpoint: Server(endpoint) for endpoint in sorted(self.endpoints(), key=str)}

        def pick(endpoints: Iterable[Endpoint]) -> Sequence[Server]:
            return [servers[endpoint] for endpoint in endpoints]

        zones = [Zone(patterns, pick(endpoints)) for patterns, endpoints in self.zones]
        return Upstreams(exchange, pick(self.servers), zones, timeout_s)


def choose(settings: Settings) -> Chosen:
    """The servers that these settings name."""
    ours = _Ours(settings.resolver.listen)

    def endpoints(upstreams: Iterable[Upstream]) -> tuple[Endpoint, ...]:
        found: list[Endpoint] = []
        for upstream in upstreams:
            if upstream.kind == "system":
                found += system_servers(ours)
            elif upstream.kind == "udp" and upstream.endpoint is not None:
                found.append(upstream.endpoint)
        return tuple(dict.fromkeys(found))

    zones = tuple((zone.names, endpoints(zone.upstreams)) for zone in settings.resolver.zones)
    return Chosen(endpoints(settings.resolver.upstreams), zones)
