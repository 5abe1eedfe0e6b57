"""The road of a question: sizes, the question's own spelling, bad input, what is counted."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from tests.unit.resolver.host import (
    DEB,
    ONE,
    TWO,
    Host,
    addresses,
    on_host,
    question,
)
from tests.unit.resolver.nameserver import Nameserver, zone


def test_walk_answer_over_the_clients_size_is_empty_with_tc_and_whole_over_tcp() -> None:
    many = " | ".join(f"203.0.113.{number}" for number in range(1, 101))

    async def work(host: Host, server: Nameserver) -> None:
        for edns in (True, False):
            reply = await host.ask(edns=edns)
            assert (bool(reply.flags & dns.flags.TC), reply.answer) == (True, [])
        reply = await host.ask(udp=False)
        assert not reply.flags & dns.flags.TC
        assert len(addresses(reply)) == 100

    on_host(work, zone(f"{DEB} 300 IN A {many}"))


def test_walk_echoes_the_case_of_the_question() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        reply = await host.ask("dEb.ExAmPlE.OrG")
        assert reply.question[0].name.to_text() == "dEb.ExAmPlE.OrG."
        assert addresses(reply) == {ONE, TWO}
        assert server.asked[0].question[0].name.to_text().lower() == f"{DEB}."

    on_host(work)


def test_walk_bad_packets_are_counted_and_answered_as_they_deserve() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        assert await host.road.walk(b"", udp=True) is None
        reply = await host.road.walk(question() + b"\0", udp=True)
        assert reply is not None
        assert dns.message.from_wire(reply).rcode() == dns.rcode.FORMERR
        reply = await host.road.walk(question(qtype="ANY"), udp=True)
        assert reply is not None
        assert dns.message.from_wire(reply).rcode() == dns.rcode.REFUSED
        assert (host.road.counts.malformed, host.road.counts.refused) == (2, 1)
        assert not server.asked

    on_host(work)


def test_walk_counts_addresses_that_were_scrubbed() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask()
        assert host.road.counts.scrubbed == 2

    on_host(work, zone(f"{DEB} 300 IN A 192.0.2.1 | 10.0.0.1 | 127.0.0.1"))
