"""Who the listeners show to the witness: whoever asks what is denied or filtered, while he waits."""

from __future__ import annotations

from math import inf

import dns.message

from dynallow.resolver.witness import Ends
from tests.unit.resolver.host import DEB, Host, on_host, question
from tests.unit.resolver.nameserver import Nameserver
from tests.unit.resolver.tcp_clients import Listening, frame
from tests.unit.resolver.tcp_clients import with_listener as with_tcp
from tests.unit.resolver.udp_client import Client, listening
from tests.unit.resolver.udp_client import with_listener as with_udp

DENIED, FILTERED = question("no.example.net"), question(DEB, "TXT")
OTHER_DENIED = question("x.other.example.net")
LOCAL = b"\x7f\0\0\1"


class Seen:
    """A witness who wants to see `count` more."""

    def __init__(self, count: float = inf) -> None:
        self.count = count
        self.seen: list[tuple[bytes, Ends]] = []

    @property
    def opens(self) -> float:
        return 0.0 if self.count > 0 else inf

    def look(self, packet: bytes, ends: Ends) -> None:
        self.count -= 1
        self.seen.append((packet, ends))

    @property
    def names(self) -> list[str]:
        return [
            dns.message.from_wire(packet).question[0].name.to_text(omit_final_dot=True)
            for packet, _ in self.seen
        ]


def seen_by(client: Client, count: float = inf) -> Seen:
    witness = Seen(count)
    client.listener._witness = witness
    return witness


def test_udp_denied_and_filtered_questions_are_shown_with_their_client() -> None:
    async def work(host: Host, client: Client, server: Nameserver) -> None:
        witness = seen_by(client)
        for packet in (DENIED, FILTERED):
            await client.ask(packet)
        ends = Ends(17, LOCAL, client.sock.getsockname()[1], LOCAL, 0)
        assert witness.seen == [(DENIED, ends), (FILTERED, ends)]

    with_udp(work)


def test_udp_question_denied_from_the_store_is_shown_again() -> None:
    async def work(host: Host, client: Client, server: Nameserver) -> None:
        await client.ask(DENIED)
        witness = seen_by(client)
        for _ in range(3):
            await client.ask(DENIED)
        assert [packet for packet, _ in witness.seen] == [DENIED] * 3

    with_udp(work)


def test_udp_allowed_malformed_and_refused_questions_are_not_shown() -> None:
    async def work(host: Host, client: Client, server: Nameserver) -> None:
        witness = seen_by(client)
        for _ in range(2):
            await client.ask(question())
        await client.ask(DENIED[:12] + b"\0")
        await client.ask(question(DEB, "ANY"))
        assert witness.seen == []

    with_udp(work)


def test_udp_burst_shows_no_more_than_the_witness_wants() -> None:
    async def work(host: Host, client: Client, server: Nameserver) -> None:
        await client.ask(DENIED)
        witness = seen_by(client, 3)
        for packet in (DENIED, question(), DENIED, OTHER_DENIED, DENIED, FILTERED):
            client.sock.send(packet)
        await client.replies(6)
        assert len(witness.seen) == 3
        assert DEB not in witness.names

    with_udp(work)


def test_udp_observed_question_is_shown_though_it_is_answered() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        async with listening(host) as client:
            witness = seen_by(client)
            await client.ask(DENIED)
            assert witness.names == ["no.example.net"]

    on_host(work, observe=True)


def test_tcp_denied_questions_are_shown_and_allowed_ones_not() -> None:
    async def work(host: Host, there: Listening) -> None:
        witness = Seen()
        there.clients.witness = witness
        client = await there.client()
        own = client.writer.get_extra_info("sockname")[1]
        for packet in (question(), DENIED, DENIED, question()):
            client.send(frame(packet))
            await client.reply()
        assert witness.seen == [(DENIED, Ends(6, LOCAL, own, LOCAL, there.port))] * 2

    with_tcp(work)


class Broken(Seen):
    def look(self, packet: bytes, ends: Ends) -> None:
        raise RuntimeError("a witness that fails")


def test_udp_witness_that_fails_costs_nobody_a_reply() -> None:
    async def work(host: Host, client: Client, server: Nameserver) -> None:
        client.listener._witness = Broken()
        for _ in range(2):
            assert dns.message.from_wire(await client.ask(DENIED)).rcode() == 3
        assert host.tasks.failed == 2

    with_udp(work)


def test_tcp_witness_that_fails_costs_nobody_a_reply() -> None:
    async def work(host: Host, there: Listening) -> None:
        there.clients.witness = Broken()
        client = await there.client()
        for _ in range(2):
            client.send(frame(DENIED))
            assert (await client.reply()).rcode() == 3
        assert host.tasks.failed == 2
        host.tasks.failed = 0

    with_tcp(work)
