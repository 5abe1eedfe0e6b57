"""Answers kept: fresh, stale, evicted."""

from __future__ import annotations

from dynallow.policy.names import parse_name
from dynallow.resolver.answer import Answer
from dynallow.resolver.cache import AnswerCache

DEB = parse_name("deb.example.org")
KEY = (DEB, 1, 0, ())


def answer(
    ends: float = 100.0, ttl: int = 40, *, data_ends: float | None = None, rules_end: float | None = None
) -> Answer:
    records = ((DEB, 1, ttl, bytes([192, 0, 2, 1])), (DEB, 1, ttl, bytes([192, 0, 2, 2])))
    return Answer(0, records, (), (), ttl, ends, ends if data_ends is None else data_ends, rules_end)


def test_fresh_until_its_end_and_not_after() -> None:
    cache = AnswerCache(10, 1000.0)
    cache.put(KEY, answer(100.0))
    assert cache.fresh(KEY, 99.9) is not None
    assert cache.fresh(KEY, 100.0) is None
    assert cache.fresh((DEB, 28, 0, ()), 0.0) is None


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
        cache.put((DEB, number, 0, ()), answer())
    assert [cache.fresh((DEB, number, 0, ()), 0.0) is not None for number in (1, 2, 3)] == [True, False, True]
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
