"""Replies given again as they are: by the packet, never above the time left, within a bound."""

from __future__ import annotations

import itertools

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.policy.names import parse_name
from dynallow.resolver.answer import Answer
from dynallow.resolver.hot import HotReplies
from dynallow.wire.question import parse_question
from dynallow.wire.render import Template, render

DEB = parse_name("deb.example.org")
PACKET = dns.message.make_query("Deb.Example.org", "A", use_edns=0, payload=1232, id=0x1234).to_wire()


def answer(ends: float = 100.0, ttl: int = 40) -> Answer:
    records = ((DEB, 1, ttl, bytes([192, 0, 2, 1])), (DEB, 1, ttl, bytes([192, 0, 2, 2])))
    return Answer(0, records, (), (), ttl, ends, ends)


def reply(told: Answer, packet: bytes = PACKET) -> Template:
    question = parse_question(packet)
    return render(question.section, flags=question.flags, rcode=0, records=told.records, edns=True)


def get(hot: HotReplies, packet: bytes, now: float) -> bytes | None:
    """The whole reply to one packet, as its client reads it."""
    (body,) = hot.find([packet[2:]], now)
    return None if body is None else packet[:2] + body


def told_ttl(packet: bytes) -> int:
    (ttl,) = {rrset.ttl for rrset in dns.message.from_wire(packet).answer}
    return ttl


@given(st.lists(st.floats(60.0, 130.0), min_size=1))
def test_hot_reply_at_any_time_is_told_no_longer_than_it_lives(times: list[float]) -> None:
    """Also when the clock of one look-up is before that of the last: bursts share one reading."""
    hot = HotReplies(10)
    hot.put(PACKET, reply(answer()), answer(), answer().ttl_s)
    plain = dns.message.from_wire(PACKET[:2] + reply(answer())[0])
    gone = False
    for now in times:
        got = get(hot, PACKET, now)
        if got is None:
            assert gone or now > 99.0
            gone = True
            continue
        assert not gone
        ttl = told_ttl(got)
        assert 0 < ttl <= 100.0 - now
        assert ttl in {int(100.0 - earlier) for earlier in times}
        message = dns.message.from_wire(got)
        assert (message.id, message.question, message.flags) == (0x1234, plain.question, plain.flags)
        assert [set(rrset) for rrset in message.answer] == [set(rrset) for rrset in plain.answer]


def test_hot_reply_in_its_last_second_is_not_given() -> None:
    hot = HotReplies(10)
    hot.put(PACKET, reply(answer()), answer(), answer().ttl_s)
    assert get(hot, PACKET, 99.01) is None
    assert len(hot) == 0


def test_hot_reply_carries_the_askers_id_and_is_the_same_otherwise() -> None:
    hot = HotReplies(10)
    hot.put(PACKET, reply(answer()), answer(), answer().ttl_s)
    other = b"\xab\xcd" + PACKET[2:]
    first, second = get(hot, PACKET, 70.0), get(hot, other, 70.0)
    assert first is not None
    assert second is not None
    assert (first[:2], second[:2]) == (b"\x12\x34", b"\xab\xcd")
    assert first[2:] == second[2:]


@pytest.mark.parametrize(
    "other",
    [
        PACKET.replace(b"Deb", b"deb"),
        dns.message.make_query("deb.example.org", "AAAA", use_edns=0).to_wire(),
        dns.message.make_query("deb.example.org", "A", use_edns=0, want_dnssec=True).to_wire(),
        dns.message.make_query("deb.example.org", "A").to_wire(),
        PACKET + b"\0",
        PACKET[:5],
        b"",
    ],
    ids=["case", "AAAA", "DO", "no EDNS", "longer", "cut", "empty"],
)
def test_hot_reply_other_bytes_are_another_question(other: bytes) -> None:
    hot = HotReplies(10)
    hot.put(PACKET, reply(answer()), answer(), answer().ttl_s)
    assert get(hot, other, 70.0) is None


def test_hot_replies_over_the_size_let_the_oldest_go() -> None:
    hot = HotReplies(2)
    packets = [PACKET[:-1] + bytes([number]) for number in range(3)]
    for packet in packets:
        hot.put(packet, reply(answer()), answer(), answer().ttl_s)
    assert [get(hot, packet, 70.0) is not None for packet in packets] == [False, True, True]


def test_hot_replies_same_question_again_pushes_nobody_out() -> None:
    hot = HotReplies(2)
    other = PACKET[:-1] + b"\x07"
    hot.put(other, reply(answer()), answer(), answer().ttl_s)
    for _ in range(5):
        hot.put(PACKET, reply(answer()), answer(), answer().ttl_s)
    assert get(hot, other, 70.0) is not None


def test_hot_replies_with_no_room_at_all_keep_nothing() -> None:
    """`cache-size = 0` is a valid setting."""
    hot = HotReplies(0)
    hot.put(PACKET, reply(answer()), answer(), answer().ttl_s)
    assert len(hot) == 0


def test_hot_replies_cleared_are_gone() -> None:
    hot = HotReplies(2)
    hot.put(PACKET, reply(answer()), answer(), answer().ttl_s)
    hot.clear()
    assert get(hot, PACKET, 70.0) is None


@given(st.floats(1.0, 1e9), st.integers(1, 86400), st.lists(st.floats(0.0, 3.0), min_size=1, max_size=30))
def test_hot_reply_as_time_passes_tells_all_that_is_left_and_never_more_than_before(
    start: float, ttl: int, steps: list[float]
) -> None:
    hot = HotReplies(10)
    told = answer(start + ttl, ttl)
    hot.put(PACKET, reply(told), told, told.ttl_s)
    last = ttl
    for now in itertools.accumulate(steps, initial=start):
        got = get(hot, PACKET, now)
        if got is None:
            assert told.ends - now < 1.0
            return
        assert told_ttl(got) == int(told.ends - now) <= last
        last = told_ttl(got)


def test_hot_reply_just_put_is_told_as_long_as_is_left() -> None:
    """Also when the answer came from the cache, and is older than its reply."""
    hot = HotReplies(10)
    hot.put(PACKET, reply(answer()), answer(), answer().ttl_s)
    got = get(hot, PACKET, 85.5)
    assert got is not None
    assert told_ttl(got) == 14


def test_find_many_gives_each_its_own_or_none() -> None:
    hot = HotReplies(10)
    other = PACKET[:-1] + b"\x07"
    hot.put(PACKET, reply(answer()), answer(), answer().ttl_s)
    found = hot.find([other[2:], PACKET[2:], b"", PACKET[2:]], 70.0)
    assert [body is not None for body in found] == [False, True, False, True]
    assert hot.find([], 70.0) == []
