"""Answers kept: fresh, stale, evicted; hot replies, whose TTL never exceeds the time left."""

from __future__ import annotations

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.policy.names import parse_name
from dynallow.resolver.answer import Answer
from dynallow.resolver.cache import AnswerCache, HotReplies
from dynallow.wire.question import parse_question
from dynallow.wire.render import Template, render
from dynallow.wire.response import Record

DEB = parse_name("deb.example.org")
KEY = (DEB, 1)
PACKET = dns.message.make_query("Deb.Example.org", "A", use_edns=0, payload=1232, id=0x1234).to_wire()


def answer(
    ends: float = 100.0, ttl: int = 40, *, data_ends: float | None = None, rules_end: float | None = None
) -> Answer:
    records = (Record(DEB, 1, ttl, bytes([192, 0, 2, 1])), Record(DEB, 1, ttl, bytes([192, 0, 2, 2])))
    return Answer(0, records, (), (), ttl, ends, ends if data_ends is None else data_ends, rules_end)


def reply(told: Answer, packet: bytes = PACKET) -> Template:
    question = parse_question(packet)
    return render(question.section, flags=question.flags, rcode=0, records=told.records, edns=True)


# ---------------------------------------------------------------- answers


def test_fresh_until_its_end_and_not_after() -> None:
    cache = AnswerCache(10, 1000.0)
    cache.put(KEY, answer(100.0))
    assert cache.fresh(KEY, 99.9) is not None
    assert cache.fresh(KEY, 100.0) is None
    assert cache.fresh((DEB, 28), 0.0) is None


def test_stale_for_as_long_as_the_setting_says_after_the_datas_end() -> None:
    cache = AnswerCache(10, 50.0)
    cache.put(KEY, answer(200.0, data_ends=100.0))
    assert cache.stale(KEY, 149.9) is not None
    assert cache.stale(KEY, 150.0) is None, "counted from the upstream's data, not from a stale answer"


def test_stale_off_gives_nothing_expired() -> None:
    cache = AnswerCache(10, 0.0)
    cache.put(KEY, answer(100.0))
    assert cache.stale(KEY, 100.0) is None


def test_stale_not_past_the_end_of_its_rules() -> None:
    cache = AnswerCache(10, 1000.0)
    cache.put(KEY, answer(100.0, rules_end=120.0))
    assert cache.stale(KEY, 119.9) is not None
    assert cache.stale(KEY, 120.0) is None


def test_put_over_the_size_evicts_the_oldest() -> None:
    cache = AnswerCache(2, 0.0)
    for number in (1, 2, 1, 3):
        cache.put((DEB, number), answer())
    assert [cache.fresh((DEB, number), 0.0) is not None for number in (1, 2, 3)] == [True, False, True]
    assert (len(cache), cache.evicted) == (2, 1)


def test_put_with_no_room_at_all_keeps_nothing() -> None:
    cache = AnswerCache(0, 0.0)
    cache.put(KEY, answer())
    assert len(cache) == 0


def test_clear_forgets_also_what_is_stale() -> None:
    cache = AnswerCache(2, 1000.0)
    cache.put(KEY, answer())
    cache.clear()
    assert cache.stale(KEY, 0.0) is None
    assert len(cache) == 0


# ---------------------------------------------------------------- hot replies


def told_ttls(packet: bytes) -> set[int]:
    message = dns.message.from_wire(packet)
    return {rrset.ttl for rrset in message.answer}


@given(st.lists(st.floats(60.0, 130.0), min_size=1))
def test_hot_reply_at_any_time_is_told_no_longer_than_it_lives(times: list[float]) -> None:
    """Also when the clock of one look-up is before that of the last: bursts share one reading."""
    hot = HotReplies(10)
    hot.put(PACKET, reply(answer()), answer())
    plain = dns.message.from_wire(PACKET[:2] + reply(answer()).body)
    gone = False
    for now in times:
        got = hot.get(PACKET, now)
        if got is None:
            gone = True
            assert now > 99.0 or gone
            continue
        assert not gone
        (ttl,) = told_ttls(got)
        assert 0 < ttl <= 100.0 - now
        assert ttl == int(100.0 - now)
        message = dns.message.from_wire(got)
        assert (message.id, message.question, message.flags) == (0x1234, plain.question, plain.flags)
        assert [set(rrset) for rrset in message.answer] == [set(rrset) for rrset in plain.answer]


def test_hot_reply_in_its_last_second_is_not_given() -> None:
    hot = HotReplies(10)
    hot.put(PACKET, reply(answer()), answer())
    assert hot.get(PACKET, 99.01) is None
    assert len(hot) == 0


def test_hot_reply_carries_the_askers_id_and_is_the_same_otherwise() -> None:
    hot = HotReplies(10)
    hot.put(PACKET, reply(answer()), answer())
    other = b"\xab\xcd" + PACKET[2:]
    first, second = hot.get(PACKET, 70.0), hot.get(other, 70.0)
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
)
def test_hot_reply_other_bytes_are_another_question(other: bytes) -> None:
    hot = HotReplies(10)
    hot.put(PACKET, reply(answer()), answer())
    assert hot.get(other, 70.0) is None


def test_hot_replies_over_the_size_let_the_oldest_go() -> None:
    hot = HotReplies(2)
    packets = [PACKET[:-1] + bytes([number]) for number in range(3)]
    for packet in packets:
        hot.put(packet, reply(answer()), answer())
    assert [hot.get(packet, 70.0) is not None for packet in packets] == [False, True, True]


def test_hot_replies_same_question_again_pushes_nobody_out() -> None:
    hot = HotReplies(2)
    other = PACKET[:-1] + b"\x07"
    hot.put(other, reply(answer()), answer())
    for _ in range(5):
        hot.put(PACKET, reply(answer()), answer())
    assert hot.get(other, 70.0) is not None


def test_hot_replies_with_no_room_at_all_keep_nothing() -> None:
    """`cache-size = 0` is a valid setting."""
    hot = HotReplies(0)
    hot.put(PACKET, reply(answer()), answer())
    assert len(hot) == 0


def test_hot_replies_cleared_are_gone() -> None:
    hot = HotReplies(2)
    hot.put(PACKET, reply(answer()), answer())
    hot.clear()
    assert hot.get(PACKET, 70.0) is None
