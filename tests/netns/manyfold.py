"""The upstream of `test_questions.py`: everything exists, and "manyN" has N addresses. Pure."""

from __future__ import annotations

from tests.lab import dnsbytes
from tests.lab.dnsbytes import Query
from tests.lab.scenarios import Knobs, fresh_address


def manyfold(query: Query, knobs: Knobs) -> bytes:
    """The scenario."""
    version = {dnsbytes.A: 4, dnsbytes.AAAA: 6}.get(query.qtype)
    if version is None:
        return dnsbytes.reply(query, authority=[dnsbytes.soa("example.org")])
    label = query.text.split(".", 1)[0]
    if not label.startswith("many"):
        return dnsbytes.reply(query, [dnsbytes.address("192.0.2.1" if version == 4 else "2001:db8::1")])
    if query.transport == "udp":
        return dnsbytes.reply(query, flags=dnsbytes.QR | dnsbytes.TC | dnsbytes.RD | dnsbytes.RA)
    count = int(label[4:])
    return dnsbytes.reply(query, [dnsbytes.address(fresh_address(n, version)) for n in range(count)])
