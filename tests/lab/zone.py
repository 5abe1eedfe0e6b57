"""Zones as a test writes them. Pure text.

Knows master file syntax. Invariant: what is built here is a whole zone with
SOA, NS and glue, so that a real name server loads it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from ipaddress import ip_network

TTL = 300


class Zone:
    """A zone under construction; every adder takes names relative to it and returns the zone.

    `Zone("example.org").a("www", "192.0.2.10").cname("alias", "www.example.org.")`
    """

    def __init__(self, origin: str, ttl: int = TTL, negative_ttl: int = 60) -> None:
        self.origin = origin.rstrip(".")
        self.ttl = ttl
        self._lines = [
            f"$ORIGIN {self.origin}.",
            f"$TTL {ttl}",
            f"@ SOA ns1 hostmaster 1 3600 600 86400 {negative_ttl}",
            "@ NS ns1",
            "ns1 A 10.10.0.10",
            "ns1 AAAA fd00:10::10",
        ]

    def record(self, name: str, rtype: str, *rdata: str, ttl: int | None = None) -> Zone:
        """One record for each of `rdata`, in master file syntax."""
        self._lines += [f"{name} {self.ttl if ttl is None else ttl} {rtype} {data}" for data in rdata]
        return self

    def a(self, name: str, *addresses: str, ttl: int | None = None) -> Zone:
        return self.record(name, "A", *addresses, ttl=ttl)

    def aaaa(self, name: str, *addresses: str, ttl: int | None = None) -> Zone:
        return self.record(name, "AAAA", *addresses, ttl=ttl)

    def both(self, name: str, number: int, ttl: int | None = None) -> Zone:
        """One A and one AAAA that belong together: 192.0.2.N and 2001:db8::N."""
        return self.a(name, f"192.0.2.{number}", ttl=ttl).aaaa(name, f"2001:db8::{number:x}", ttl=ttl)

    def cname(self, name: str, target: str, ttl: int | None = None) -> Zone:
        return self.record(name, "CNAME", target, ttl=ttl)

    def chain(self, name: str, length: int, *addresses: str, ttl: int | None = None) -> Zone:
        """`name` → link1.name → … → linkN.name, which has the IPv4 addresses."""
        links = [name, *(f"link{n}.{name}" for n in range(1, length + 1))]
        for link, target in itertools.pairwise(links):
            self.cname(link, target, ttl)
        return self.a(links[-1], *addresses, ttl=ttl)

    def srv(self, name: str, port: int, target: str, ttl: int | None = None) -> Zone:
        return self.record(name, "SRV", f"0 0 {port} {target}", ttl=ttl)

    def txt(self, name: str, text: str, ttl: int | None = None) -> Zone:
        return self.record(name, "TXT", f'"{text}"', ttl=ttl)

    def large(self, name: str, network: str, count: int, ttl: int | None = None) -> Zone:
        """One name with the first `count` addresses of `network`."""
        rtype = "A" if ip_network(network).version == 4 else "AAAA"
        return self.record(name, rtype, *_addresses(network, count), ttl=ttl)

    def numbered(
        self, count: int, v4: str = "198.18.0.0/15", v6: str = "2001:db8:f::/48", ttl: int | None = None
    ) -> Zone:
        """Names n0, n1, … each with one A and one AAAA of its own, for runs over fresh names."""
        for number, (a, aaaa) in enumerate(zip(_addresses(v4, count), _addresses(v6, count), strict=True)):
            self.a(f"n{number}", a, ttl=ttl).aaaa(f"n{number}", aaaa, ttl=ttl)
        return self

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"


def _addresses(network: str, count: int) -> Iterator[str]:
    """The first `count` addresses after the network's own."""
    net = ip_network(network)
    if count >= net.num_addresses:
        raise ValueError(f"expected at most {net.num_addresses - 1} addresses, got {count}")
    return (str(net[n]) for n in range(1, count + 1))
