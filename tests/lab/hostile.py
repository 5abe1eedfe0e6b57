"""Upstreams that lie: the first label of a name chooses the lie, its number the honest address.

    off-chain-17.hostile.example.org            → the lie `off_chain` (tests/lab/lies/)
    points-0a000001-18.hostile.example.org      → one record with the data 10.0.0.1, and the honest one

Knows which lies there are, not what a resolver should make of them beyond
GOOD or NOTHING (lies/pieces.py).
"""

from __future__ import annotations

from ipaddress import ip_address

from tests.lab import dnsbytes
from tests.lab.dnsbytes import Query
from tests.lab.lies import chains, exchange, lengths, marks, names, places, transport
from tests.lab.lies.pieces import EVIL_PREFIXES, GOOD, LIES, NOTHING, good, honest_address, right
from tests.lab.scenarios import Knobs, Reaction

__all__ = ["EVIL_PREFIXES", "GOOD", "LIES", "NOTHING", "honest_address", "hostile", "pointing_at"]
_SOURCES = (chains, exchange, lengths, marks, names, places, transport)  # each enters its lies into LIES


def hostile(query: Query, knobs: Knobs) -> Reaction:
    """The scenario for `lab.scripted`; a name without a lie gets an honest answer."""
    label = query.text.split(".", 1)[0].rpartition("-")[0]
    if query.qtype not in (dnsbytes.A, dnsbytes.AAAA):
        return dnsbytes.reply(query, authority=[dnsbytes.soa("example.org")])
    if label.startswith("points-"):
        return _points_at(query, bytes.fromhex(label.removeprefix("points-")))
    return LIES[label].play(query) if label in LIES else good(query)


def pointing_at(address: str, number: int) -> str:
    """The first label of a name that has `address` beside its honest one."""
    return f"points-{ip_address(address).packed.hex()}-{number}"


def _points_at(query: Query, packed: bytes) -> bytes:
    record = dnsbytes.rr(dnsbytes.ASKED, query.qtype, packed)
    return dnsbytes.reply(query, [record, right(query)])
