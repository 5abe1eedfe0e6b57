"""What is asked in the benches, and the zone that has the answers. Pure.

Knows names and addresses; must not know servers or clocks. Invariant: within
one round no fresh workload asks a name twice, no two names share an address,
so that each fresh answer costs every server the work that it claims to measure.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from tests.lab.zone import Zone

ORIGIN = "bench.example.org"
DENIED = "denied.example.net"  # no rule lists it; the peers are told to answer NXDOMAIN themselves
LINKS, CHAIN_ADDRESSES = 3, 4
_TTL_S = 3600  # nothing lapses within a run
_FIRST_ADDRESS = IPv4Address("198.18.0.1")
_LAST_ADDRESS = IPv4Address("198.19.255.254")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many names: in the zone, and how many of them one round asks."""

    hot: int = 1000
    fresh: int = 20_000
    fresh_in_zone: int = 60_000
    chains: int = 10_000
    chains_in_zone: int = 10_000
    denied: int = 20_000
    """Denied names that one round makes up."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of question. `addresses` is what each right answer brings into a set."""

    name: str
    prefix: str
    rcode: str = "NOERROR"
    addresses: int = 0
    is_fresh: bool = False

    def questions(self, sizes: Sizes, turn: int) -> Iterator[str]:
        """dnsperf's input for round `turn`."""
        if self.name == "DU":
            yield from (f"{_made_up(turn * sizes.denied + number)} A\n" for number in range(sizes.denied))
            return
        origin = DENIED if self.rcode == "NXDOMAIN" else ORIGIN
        for number in self._numbers(sizes, turn):
            yield f"{self.prefix}{number}.{origin} A\n"

    def _numbers(self, sizes: Sizes, turn: int) -> Iterator[int]:
        if not self.is_fresh:
            return iter(range(1 if self.name == "H1" else sizes.hot))
        asked, stock = (
            (sizes.chains, sizes.chains_in_zone) if self.prefix == "c" else (sizes.fresh, sizes.fresh_in_zone)
        )
        if asked > stock:
            raise ValueError(f"expected at most {stock} names of {self.name}, got {asked}")
        return ((turn * asked + number) % stock for number in range(asked))


def _made_up(number: int) -> str:
    """A name as a flood has them: random labels below one of 97 domains, all denied."""
    label = hashlib.blake2b(str(number).encode(), digest_size=8).hexdigest()
    return f"{label}.z{number % 97}.{DENIED}"


H1 = Workload("H1", "h")
H1000 = Workload("H1000", "h")
D = Workload("D", "d", rcode="NXDOMAIN")
DU = Workload("DU", "", rcode="NXDOMAIN", is_fresh=True)
F1 = Workload("F1", "n", addresses=1, is_fresh=True)
FC = Workload("FC", "c", addresses=CHAIN_ADDRESSES, is_fresh=True)
WORKLOADS = {workload.name: workload for workload in (H1, H1000, D, DU, F1, FC)}
"""Fresh ones last: they push the hot names out of a cache."""

MEANING = {
    "H1": "one hot name",
    "H1000": "1,000 hot names",
    "D": "1,000 names that no rule allows",
    "DU": "denied names that were never asked before, each once",
    "F1": "fresh names, one A each",
    "FC": f"fresh names, {LINKS} CNAMEs and {CHAIN_ADDRESSES} A each",
}


def zone(sizes: Sizes) -> Zone:
    """Every name that any round may ask, each with addresses of its own."""
    count = sizes.hot + sizes.fresh_in_zone + sizes.chains_in_zone * CHAIN_ADDRESSES
    if int(_FIRST_ADDRESS) + count > int(_LAST_ADDRESS):
        raise ValueError(
            f"expected at most {int(_LAST_ADDRESS) - int(_FIRST_ADDRESS)} addresses, got {count}"
        )
    addresses = (str(_FIRST_ADDRESS + number) for number in range(count))
    built = Zone(ORIGIN, ttl=_TTL_S)
    for number in range(sizes.hot):
        built.a(f"h{number}", next(addresses))
    for number in range(sizes.fresh_in_zone):
        built.a(f"n{number}", next(addresses))
    for number in range(sizes.chains_in_zone):
        built.chain(f"c{number}", LINKS, *itertools.islice(addresses, CHAIN_ADDRESSES))
    return built
