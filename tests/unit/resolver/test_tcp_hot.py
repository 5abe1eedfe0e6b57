"""TCP replies that are given again: the store and its bounds, and what a client on a real socket gets."""

from __future__ import annotations

import itertools
import tracemalloc
from dataclasses import replace

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.policy.patterns import parse_pattern
from dynallow.policy.policy import Policy, PolicyBuilder
from dynallow.resolver.hot import HotTcpReplies
from tests.unit.resolver.host import DEB, ONE, Host, addresses, on_host, policy, question, until
from tests.unit.resolver.nameserver import Nameserver
from tests.unit.resolver.tcp_clients import DENIED, PATIENT, Listening, frame, with_listener
from tests.unit.resolver.test_hot import PACKET, answer, reply, told_ttl

BIG = "big.example.org"


# ---------------------------------------------------------------- the store


def get(hot: HotTcpReplies, packet: bytes, now: float) -> bytes | None:
    body = hot.find(packet[2:], now)
    return None if body is None else packet[:2] + body


@given(st.lists(st.floats(60.0, 130.0), min_size=1))
def test_tcp_reply_at_any_time_is_told_no_longer_than_it_lives(times: list[float]) -> None:
    hot = HotTcpReplies()
    hot.put(PACKET, reply(answer()), answer(), answer().ttl_s)
    gone = False
    for now in times:
        got = get(hot, PACKET, now)
        if got is None:
            assert gone or now > 99.0
            gone = True
        else:
            assert not gone
            assert 0 < told_ttl(got) <= 100.0 - now
    assert (len(hot) == 0) == (hot.taken == 0) == gone


def test_tcp_reply_about_to_be_renewed_is_not_given() -> None:
    hot = HotTcpReplies()
    hot.put(PACKET, reply(answer()), answer()._replace(renews=90.0), answer().ttl_s)
    assert get(hot, PACKET, 89.9) is not None
    assert get(hot, PACKET, 90.0) is None
    assert (len(hot), hot.taken) == (0, 0)


def test_tcp_replies_without_room_let_the_oldest_go_and_one_that_never_fits_nobody() -> None:
    hot = HotTcpReplies()
    packets = [PACKET[:-1] + bytes([number]) for number in range(4)]
    hot.put(packets[0], reply(answer()), answer(), 40)
    hot.room = 3 * hot.taken
    for packet in (*packets[1:], packets[3], packets[3]):
        hot.put(packet, reply(answer()), answer(), 40)
    assert [get(hot, packet, 70.0) is not None for packet in packets] == [False, True, True, True]
    assert hot.taken == hot.room
    large = answer()._replace(records=answer().records * 200)
    hot.put(PACKET, reply(large), large, 40)
    assert (get(hot, PACKET, 70.0), len(hot)) == (None, 3)
    hot.clear()
    assert (len(hot), hot.taken) == (0, 0)


@pytest.mark.parametrize(("records", "count"), [(1, 2000), (200, 150)])
def test_tcp_replies_take_no_more_memory_than_they_count(records: int, count: int) -> None:
    """Of stranger's making: every name in 2^n ways of writing it."""
    hot = HotTcpReplies(1 << 20)
    told = answer()._replace(records=answer().records[:1] * records)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            packet = number.to_bytes(2, "big") * 2 + PACKET
            hot.put(packet, reply(told, PACKET), told, 40)
            hot.find(packet[2:], 70.0 + number / 1000)  # its patched body stands beside it from now on
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.9 * hot.room < hot.taken <= hot.room
    assert taken < 1.2 * hot.room


# ---------------------------------------------------------------- clients


def test_tcp_question_again_is_hot_with_its_own_id_and_a_lower_ttl() -> None:
    async def work(host: Host, there: Listening) -> None:
        one, other = await there.client(), await there.client()
        one.ask(DEB)
        first = await one.reply()
        host.pass_time(7.5)
        other.ask(DEB, DEB)
        second, third = await other.reply(), await other.reply()
        assert (second.id, third.id) == (0, 1)
        assert addresses(second) == addresses(third) == {ONE}
        assert (first.answer[0].ttl, second.answer[0].ttl, third.answer[0].ttl) == (300, 292, 292)
        counts = host.road.counts
        assert (counts.fresh, counts.cached, counts.hot, len(host.gate.calls)) == (1, 0, 2, 1)

    with_listener(work)


def test_tcp_questions_of_one_turn_are_told_what_is_left_when_each_is_answered() -> None:
    """What stands before it in the turn may be a fresh question, and take its time."""

    async def work(host: Host, there: Listening) -> None:
        client = await there.client()
        client.ask(DEB)
        await client.reply()
        times = itertools.count(host.now, 2.0)
        host.road.clock = lambda: next(times)
        client.ask(DEB, DEB, DEB)
        told = [(await client.reply()).answer[0].ttl for _ in range(3)]
        assert told[0] > told[1] > told[2]

    with_listener(work, replace(PATIENT, turn_s=1.0))


def test_tcp_reply_is_never_udps_cut_one_and_udps_never_tcps_long_one() -> None:
    """The very same question, without EDNS, so that UDP has room for 512 bytes."""

    async def work(host: Host, there: Listening) -> None:
        packet = question(BIG, edns=False)
        for _ in range(3):
            client = await there.client()
            over_udp = await host.road.walk(packet, udp=True)
            assert over_udp is not None
            (hot,) = host.road.hot.find([packet[2:]], host.now)
            assert hot == over_udp[2:]
            cut = dns.message.from_wire(over_udp)
            assert (len(over_udp) <= 512, bool(cut.flags & dns.flags.TC), cut.answer) == (True, True, [])
            client.send(frame(packet))
            whole = await client.reply()
            assert (whole.flags & dns.flags.TC, len(addresses(whole))) == (0, 60)
        assert host.road.counts.hot == 2

    with_listener(work)


def test_tcp_question_with_a_cookie_gets_its_own_and_is_not_kept() -> None:
    async def work(host: Host, there: Listening) -> None:
        client = await there.client()
        client.ask(DEB)
        await client.reply()
        for cookie in (b"one's 8B", b"other 8B"):
            options: list[dns.edns.Option] = [dns.edns.GenericOption(dns.edns.OptionType.COOKIE, cookie)]
            client.send(frame(question(options=options)))
            (told,) = (await client.reply()).options
            assert (told.to_wire() or b"")[:8] == cookie
        assert (len(host.road.hot_tcp), host.road.counts.hot) == (1, 0)

    with_listener(work)


def test_tcp_reply_is_not_given_when_rules_leases_or_the_table_went() -> None:
    async def work(host: Host, there: Listening) -> None:
        client = await there.client()
        client.ask(DEB)
        await client.reply()
        host.change(policy(web="other.example.org"))
        client.ask(DEB)
        assert (await client.reply()).rcode() == dns.rcode.NXDOMAIN
        host.change(policy(web=DEB))
        client.ask(DEB)
        assert addresses(await client.reply()) == {ONE}
        # The look that stands before every turn hears that somebody has just taken the table away.
        host.road.alert = host.road.forget
        hot = host.road.counts.hot
        client.ask(DEB)
        await client.reply()  # SERVFAIL: it never holds still
        assert host.road.counts.hot == hot == 0

    with_listener(work)


def test_tcp_with_no_room_for_answers_at_all_keeps_none() -> None:
    """`cache-size = 0` is a valid setting."""

    async def work(host: Host, server: Nameserver) -> None:
        for _ in range(2):
            assert await host.road.walk(question(), udp=False)
        assert (len(host.road.hot_tcp), host.road.counts.fresh) == (0, 2)

    on_host(work, size=0)


def test_tcp_denial_again_is_byte_for_byte_what_the_road_says() -> None:
    """However it became known: asked over TCP, over UDP, or of a kin of it; of any length."""
    label = "a" * 63
    names = [DENIED, f"x.{DENIED}", *(".".join([label] * 3 + ["b" * size]) for size in (1, 30, 61))]

    async def work(host: Host, there: Listening) -> None:
        expected = {}
        for name, edns in itertools.product(names, (False, True)):
            packet = question(name, edns=edns)
            expected[packet] = await host.road.walk(packet, udp=False)
        for udp in (False, True):
            host.road.forget()
            client = await there.client()
            for packet, said in expected.items():
                if udp:
                    await host.road.walk(packet, udp=True)
                for _ in range(2):
                    client.send(frame(packet))
                    told = await client.reader.readexactly(2)
                    assert await client.reader.readexactly(int.from_bytes(told, "big")) == said
        assert host.road.counts.denied == 5 * len(expected) + len(expected)

    with_listener(work, allowed=_explained())


def _explained() -> Policy:
    """With a reason as long as reasons get."""
    builder = PolicyBuilder()
    rule = builder.add_rule("web", reason="why " * 200)
    builder.add_pattern(rule, parse_pattern("*.example.org"))
    return builder.build()


def test_tcp_one_question_comes_before_those_of_clients_that_have_many() -> None:
    async def work(host: Host, there: Listening) -> None:
        floods = [await there.client() for _ in range(20)]
        for flood in floods:
            flood.ask(*[DENIED] * 60)
        one = await there.client()
        await until(lambda: host.road.counts.denied > 40)  # each has had its first turn
        for _ in range(3):
            before = host.road.counts.denied
            one.ask(DENIED)
            await one.reply()
            assert host.road.counts.denied - before < 20
        for flood in floods:
            assert await flood.replies(60) == list(range(60))

    with_listener(work, replace(PATIENT, turn_s=0.0))


def test_tcp_client_with_many_questions_has_its_turn_beside_those_with_one() -> None:
    async def work(host: Host, there: Listening) -> None:
        flood, others = await there.client(), [await there.client() for _ in range(20)]
        flood.ask(*[DENIED] * 20)
        done = flood.replies(20)
        for _ in range(20):
            for other in others:
                other.ask(DENIED)
            for other in others:
                await other.reply()
        assert await done == list(range(20))

    with_listener(work, replace(PATIENT, turn_s=0.0))


def test_tcp_halves_of_long_questions_are_counted_and_bounded_together() -> None:
    async def work(host: Host, there: Listening) -> None:
        half = frame(bytes(60_000))[:40_000]
        clients = [await there.client() for _ in range(3)]
        for number, client in enumerate(clients, 1):
            client.send(half)
            held = number * (40_000 - 4096)
            await until(lambda held=held: host.road.tcp_held == held)  # type: ignore[misc]
        assert host.road.counts.tcp_cut == 0
        late = await there.client()
        late.send(half)
        await late.end()
        await until(lambda: host.road.tcp_held == 3 * (40_000 - 4096))
        assert (host.road.counts.tcp_cut, there.connections) == (1, 3)
        ordinary = await there.client()
        ordinary.ask(DEB)  # whoever asks as people do is not touched by it
        assert addresses(await ordinary.reply()) == {ONE}
        clients[0].send(bytes(20_002))
        assert (await clients[0].reply()).rcode() == dns.rcode.FORMERR
        await until(lambda: host.road.tcp_held == 2 * (40_000 - 4096))

    with_listener(work, replace(PATIENT, held=130_000))


def test_tcp_listener_lets_others_be_attended_while_a_crowd_is_read() -> None:
    async def work(host: Host, there: Listening) -> None:
        attended = []
        there.clients.attend = lambda: attended.append(host.road.tcp_connections)
        clients = [await there.client() for _ in range(5)]
        await until(lambda: there.connections == 5)
        assert attended == [1, 2, 3, 4, 5]
        for client in clients:
            client.ask(DENIED)
            await client.reply()
        assert len(attended) == 10
        clients[0].writer.close()
        await until(lambda: there.connections == 4)
        assert len(attended) == 11

    with_listener(work)
