"""The UDP listener on a real socket: as a plain loop of `recvfrom` and `sendto` would answer, only sooner."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import Callable, Coroutine

import dns.edns
import dns.message
import pytest

from dynallow.resolver import udp
from dynallow.resolver.answer import Answer
from dynallow.resolver.asked import Asked
from dynallow.resolver.mmsg import BURST, DATAGRAM_MAX
from dynallow.resolver.road import Road
from dynallow.resolver.udp import UdpListener
from tests.unit.resolver.host import DEB, WEB, Host, addresses, on_host, policy, question, until
from tests.unit.resolver.nameserver import Nameserver, zone
from tests.unit.resolver.udp_client import Client, listening, with_listener


def test_question_asked_again_is_answered_from_the_store_with_what_is_left() -> None:
    async def work(host: Host, client: Client, server: Nameserver) -> None:
        first = dns.message.from_wire(await client.ask(question(id=1)))
        host.pass_time(10.5)
        again = dns.message.from_wire(await client.ask(question(id=2)))
        assert (first.id, again.id) == (1, 2)
        assert addresses(first) == addresses(again)
        assert (first.answer[0].ttl, again.answer[0].ttl) == (300, 289)
        counts = host.road.counts
        assert (counts.fresh, counts.cached, counts.hot) == (1, 0, 1)
        assert len(server.asked) == 1

    with_listener(work)


def test_question_denied_again_is_answered_from_the_store_and_counted_by_verdict() -> None:
    async def work(host: Host, client: Client, server: Nameserver) -> None:
        for _ in range(3):
            assert dns.message.from_wire(await client.ask(question("no.example.net"))).rcode() == 3
            assert dns.message.from_wire(await client.ask(question(DEB, "TXT"))).rcode() == 0
        counts = host.road.counts
        assert (counts.denied, counts.filtered, counts.hot) == (3, 3, 0)
        assert len(host.road.denials) == 4, "two replies, and one of them in parts, twice"
        assert not server.asked

    with_listener(work)


def test_denial_is_decided_anew_after_a_reload() -> None:
    async def work(host: Host, client: Client, server: Nameserver) -> None:
        assert dns.message.from_wire(await client.ask(question())).rcode() == 0
        host.change(policy(other="other.example.net"))
        assert dns.message.from_wire(await client.ask(question())).rcode() == 3
        assert len(host.road.denials) == 1
        host.change(WEB)
        assert len(host.road.denials) == 0
        assert dns.message.from_wire(await client.ask(question())).rcode() == 0

    with_listener(work)


def test_flood_of_denied_names_takes_no_room_from_allowed_ones() -> None:
    async def work(host: Host, client: Client, server: Nameserver) -> None:
        host.road.denials.size = 20
        await client.ask(question())
        for number in range(60):
            await client.ask(question(f"n{number}.example.net"))
            await client.ask(question(f"n.z{number}.example.net"))
            assert len(host.road.denials) <= 41
        assert len(host.road.hot) == 1
        await client.ask(question())
        assert host.road.counts.hot == 1

    with_listener(work)


def test_question_with_options_is_in_no_store() -> None:
    """Cookies differ from question to question: a store would fill with what is never asked again."""

    async def work(host: Host, client: Client, server: Nameserver) -> None:
        cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")
        await client.ask(question(options=[cookie]))
        await client.ask(question("no.example.net", options=[cookie]))
        assert (len(host.road.hot), len(host.road.denials)) == (0, 0)

    with_listener(work)


def test_change_that_the_look_hears_of_empties_the_store_before_the_burst_is_answered() -> None:
    """What was asked after a change of the table is answered after it: no reply from before is given."""

    async def work(host: Host, client: Client, server: Nameserver) -> None:
        await client.ask(question())
        host.road.alert = host.road.forget
        calls = len(host.gate.calls)
        await client.ask(question())
        assert host.road.counts.hot == 0
        assert len(host.gate.calls) > calls, "leased anew"

    with_listener(work)


def test_look_comes_after_the_burst_was_taken() -> None:
    """A question that arrives during the look waits for the next one."""

    async def work(host: Host, client: Client, server: Nameserver) -> None:
        await client.ask(question(id=1))
        looks = 0

        def look() -> None:
            nonlocal looks
            looks += 1
            if looks == 1:
                client.sock.send(question(id=3))

        host.road.alert = look
        client.sock.send(question(id=2))
        assert [reply[:2] for reply in await client.replies(2)] == [b"\0\2", b"\0\3"]
        assert looks == 2

    with_listener(work)


def test_mixed_burst_gives_every_question_its_reply() -> None:
    """Hot, denied, malformed, silent and fresh in one burst, and more than a burst of them."""

    async def work(host: Host, client: Client, server: Nameserver) -> None:
        await client.ask(question())
        await client.ask(question("no.example.net"))
        kinds = [
            question(),
            question("no.example.net"),
            question()[:20],
            b"\0\7\x80\0" + bytes(8),
            question(DEB, "AAAA"),
            question("other.example.net"),
        ]
        packets = [(number).to_bytes(2, "big") + kinds[number % 6][2:] for number in range(3 * BURST)]
        for packet in packets:
            client.sock.send(packet)
        answered = [packet for number, packet in enumerate(packets) if number % 6 != 3]
        replies = await client.replies(len(answered))
        assert Counter(reply[:2] for reply in replies) == Counter(packet[:2] for packet in answered)
        by_kind = {(reply[0] << 8 | reply[1]) % 6: reply[3] & 15 for reply in replies}
        assert by_kind == {0: 0, 1: 3, 2: 1, 4: 0, 5: 3}
        assert not client.has_more()

    with_listener(work)


# ---------------------------------------------------------------- what has to wait

FRESH = zone(f"{DEB} 300 IN A 192.0.2.1", *(f"n{n}.example.org 300 IN A 192.0.2.9" for n in range(100)))


def with_fresh_names(work: Callable[[Host, Client, UdpListener], Coroutine[None, None, None]]) -> None:
    """One hot name, and many that may be asked for."""

    async def run(host: Host, server: Nameserver) -> None:
        async with listening(host) as client:
            await client.ask(question())
            await work(host, client, client.listener)

    on_host(run, FRESH, policy(all=".example.org"))


def ask_fresh(client: Client, count: int) -> None:
    for number in range(count):
        client.sock.send(question(f"n{number}.example.org", id=number))


def test_hot_question_that_comes_while_fresh_ones_are_begun_is_answered_between_them() -> None:
    async def work(host: Host, client: Client, listener: UdpListener) -> None:
        hot: list[int] = []
        begin = host.tasks.begin

        def watched(task: Coroutine[object, object, None]) -> None:
            hot.append(host.road.counts.hot)
            if len(hot) == 3:
                client.sock.send(question(id=999))
            begin(task)

        ask_fresh(client, 6)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(host.tasks, "begin", watched)
            await client.replies(7)
        assert hot == [0, 0, 0, 1, 1, 1]

    with_fresh_names(work)


def test_hot_question_that_comes_while_fresh_ones_wake_up_is_answered_between_them() -> None:
    async def work(host: Host, client: Client, listener: UdpListener) -> None:
        hot: list[int] = []
        tell = Road._tell

        def watched(road: Road, asked: Asked, answer: Answer) -> bytes:
            hot.append(host.road.counts.hot)
            if len(hot) == 3:
                client.sock.send(question(id=999))
            return tell(road, asked, answer)

        host.gate.open = asyncio.Event()
        ask_fresh(client, 6)
        await until(lambda: len(host.gate.calls) == 7)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Road, "_tell", watched)
            host.gate.open.set()  # all of them wake up in one turn of the loop
            await client.replies(7)
        assert hot == [0, 0, 0, 1, 1, 1]

    with_fresh_names(work)


def test_question_that_stood_in_the_row_while_its_rule_went_is_denied_and_leases_nothing() -> None:
    async def work(host: Host, client: Client, listener: UdpListener) -> None:
        calls = len(host.gate.calls)
        ask_fresh(client, 2)
        host.attendant.attend()
        assert (len(listener._passing), host.road.counts.allowed) == (2, 3)
        host.change(WEB)  # not theirs
        replies = await client.replies(2)
        assert [reply[3] & 15 for reply in replies] == [3, 3]
        assert len(host.gate.calls) == calls

    with_fresh_names(work)


def test_row_of_what_has_to_wait_has_an_end_and_everybody_in_it_is_answered() -> None:
    async def work(host: Host, client: Client, listener: UdpListener) -> None:
        ask_fresh(client, BURST + 10)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(udp, "_PASSING_MAX", 20)
            for _ in range(10):
                host.attendant.attend()
            assert len(listener._passing) == BURST
            ids = {int.from_bytes(reply[:2], "big") for reply in await client.replies(BURST + 10)}
        assert ids == {*range(BURST + 10)}

    with_fresh_names(work)


def test_listener_that_closes_begins_with_nobody_any_more() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        async with listening(host) as client:
            ask_fresh(client, 2)
            host.attendant.attend()
            assert len(client.listener._passing) == 2
        await asyncio.sleep(0)
        assert (len(host.tasks), host.road.counts.fresh) == (0, 0)

    on_host(work, FRESH, policy(all=".example.org"))


def test_oversized_datagram_is_malformed_whatever_it_begins_with() -> None:
    async def work(host: Host, client: Client, server: Nameserver) -> None:
        plain = question(edns=False)
        padding = struct.pack("!HH", 12, DATAGRAM_MAX) + bytes(DATAGRAM_MAX)
        opt = struct.pack("!BHHIH", 0, 41, 1232, 0, len(padding))
        reply = await client.ask(plain[:10] + b"\0\1" + plain[12:] + opt + padding)
        assert (reply[:2], reply[3] & 15) == (b"\0\7", 1)
        assert host.road.counts.malformed == 1
        await client.ask(question())

    with_listener(work)
