"""What is known of a server's datagrams, by itself: time is an argument, no datagram takes a check away."""

from __future__ import annotations

import pytest

from dynallow.resolver.upstream.guard import Guard
from dynallow.wire import numbers as n
from dynallow.wire.query import cookie_opt

NOW, HOUR_S = 1000.0, 3600.0
SERVER = b"0123456789abcdef"


@pytest.fixture
def guard() -> Guard:
    guard = Guard("192.0.2.53:53")
    guard.renew(NOW)
    return guard


@pytest.fixture
def known(guard: Guard) -> Guard:
    """Of a server that has shown a cookie."""
    assert guard.judge(guard.cookie + SERVER, guard.cookie, NOW)
    guard.settle(guard.cookie, n.NOERROR, NOW)
    return guard


def test_cookie_is_another_for_each_server_and_each_hour(guard: Guard) -> None:
    other = Guard()
    other.renew(NOW)
    first = guard.cookie
    assert len({first, other.cookie}) == 2
    assert guard.opt == cookie_opt(first)
    assert guard.due == NOW + HOUR_S
    guard.renew(guard.due)
    assert guard.cookie != first
    assert guard.due == NOW + 2 * HOUR_S


def test_cookie_of_the_server_is_learned_and_sent_until_the_clients_changes(known: Guard) -> None:
    assert known.opt == cookie_opt(known.cookie + SERVER)
    assert known.expects
    known.renew(NOW + HOUR_S)
    assert known.opt == cookie_opt(known.cookie)
    assert known.expects, "who has shown one goes on to"


def test_answer_to_an_older_cookie_is_believed_and_teaches_nothing(known: Guard) -> None:
    older = known.cookie
    known.renew(NOW + HOUR_S)
    assert known.judge(older + SERVER, older, NOW + HOUR_S)
    assert known.opt == cookie_opt(known.cookie)


@pytest.mark.parametrize("length", [0, 1, 7, 9, 15, 41, 255])
def test_cookie_of_a_wrong_length_is_not_believed_once_there_was_a_right_one(
    known: Guard, length: int
) -> None:
    given = (known.cookie + bytes(255))[:length]
    assert not known.judge(given, known.cookie, NOW)


@pytest.mark.parametrize("length", [8, 16, 24, 40])
def test_cookie_with_another_clients_part_is_never_believed(guard: Guard, length: int) -> None:
    right = (guard.cookie + bytes(32))[:length]
    wrong = bytes((right[0] ^ 1,)) + right[1:]
    assert not guard.judge(wrong, guard.cookie, NOW)
    assert not guard.expects
    assert guard.judge(right, guard.cookie, NOW)
    assert guard.expects is (length > 8), "what comes back as it was sent is no cookie of the server's"


def test_answer_without_is_believed_until_the_server_has_shown_one(guard: Guard) -> None:
    assert guard.judge(b"", guard.cookie, NOW)
    assert guard.judge(guard.cookie + SERVER, guard.cookie, NOW)
    assert not guard.judge(b"", guard.cookie, NOW)


def test_server_that_gives_none_any_more_is_expected_to_after_an_hour_again(known: Guard) -> None:
    known.gives_no_cookies(NOW)
    assert known.judge(b"", known.cookie, NOW)
    assert known.opt == cookie_opt(known.cookie), "asked for all the same"
    assert known.judge(known.cookie + SERVER, known.cookie, NOW + 1)
    assert known.judge(b"", known.cookie, NOW + 1), "one of several servers may"
    assert known.opt == cookie_opt(known.cookie + SERVER)
    assert known.judge(known.cookie + SERVER, known.cookie, NOW + HOUR_S)
    assert not known.judge(b"", known.cookie, NOW + HOUR_S)


def test_formerr_to_the_cookie_is_asked_again_without_and_remembered_for_an_hour(guard: Guard) -> None:
    sent = guard.cookie
    guard.settle(sent, n.FORMERR, NOW)
    assert guard.may_ask_again(n.FORMERR, sent)
    assert (guard.cookie, guard.opt) == (b"", cookie_opt(b""))
    guard.settle(b"", n.NOERROR, NOW)
    assert guard.settled
    assert guard.cookie == b""
    assert guard.due == NOW + HOUR_S
    guard.renew(guard.due)
    assert guard.cookie
    assert not guard.settled


def test_formerr_of_a_server_that_has_answered_cookies_is_about_something_else(known: Guard) -> None:
    assert not known.may_ask_again(n.FORMERR, known.cookie)
    assert known.may_ask_again(n.BADCOOKIE, known.cookie)


def test_silence_is_about_the_cookie_when_twice_only_questions_without_were_answered(guard: Guard) -> None:
    for _ in range(2):
        assert guard.cookie
        guard.silent(guard.cookie, NOW)
        assert not guard.cookie
        guard.settle(b"", n.NOERROR, NOW)
    assert guard.settled
    assert not guard.cookie


def test_silence_of_an_outage_ends_with_cookies(guard: Guard) -> None:
    guard.silent(guard.cookie, NOW)
    for _ in range(10):  # all of them were under way when it came back
        guard.settle(b"", n.NOERROR, NOW)
    assert guard.cookie
    guard.settle(guard.cookie, n.NOERROR, NOW)
    guard.silent(guard.cookie, NOW)
    assert guard.cookie, "it is known to answer them"


def test_silence_that_lasts_asks_again_how_the_server_takes_to_cookies(known: Guard) -> None:
    """Another server may have come to its address; but what is expected of those that answer stays."""
    for moment in (0, 9):
        known.silent(known.cookie, NOW + moment)
        assert known.cookie
    known.silent(known.cookie, NOW + 10)
    assert not known.cookie
    known.settle(b"", n.NOERROR, NOW + 11)
    assert known.cookie, "once more"
    assert not known.judge(b"", known.cookie, NOW + 11)
    known.silent(known.cookie, NOW + 12)
    known.settle(b"", n.NOERROR, NOW + 13)
    assert known.settled
    assert not known.cookie


def test_silence_ends_with_an_answer_to_a_question_with_a_cookie(guard: Guard) -> None:
    guard.settle(guard.cookie, n.NOERROR, NOW)
    assert not guard.watches
    guard.silent(guard.cookie, NOW)
    assert guard.watches
    guard.settle(guard.cookie, n.NOERROR, NOW + 5)
    assert not guard.watches
    guard.silent(guard.cookie, NOW + 10)
    assert guard.cookie


def test_cookies_without_tcp_are_given_up_when_they_lack_three_times_in_a_row(known: Guard) -> None:
    for _ in range(2):
        known.lacked(NOW)
        known.lacked(NOW)
        assert known.judge(known.cookie + SERVER, known.cookie, NOW)
        assert known.expects
    for _ in range(3):
        known.lacked(NOW)
    assert not known.expects


def test_case_is_given_up_for_an_hour(guard: Guard) -> None:
    guard.changes_case(NOW + 1)
    assert not guard.mixes
    guard.renew(guard.due)
    assert guard.due == NOW + 1 + HOUR_S, "a new cookie first"
    assert not guard.mixes
    guard.renew(guard.due)
    assert guard.mixes


def test_case_without_tcp_is_given_up_when_it_is_so_three_times_in_a_row(guard: Guard) -> None:
    for _ in range(2):
        guard.struck(NOW)
        guard.struck(NOW)
        assert guard.watches
        guard.kept_case()
        assert guard.mixes
    for _ in range(3):
        guard.struck(NOW)
    assert not guard.mixes


def test_watches_only_while_there_is_something_to_see(guard: Guard) -> None:
    assert guard.watches
    guard.settle(guard.cookie, n.NOERROR, NOW)
    assert not guard.watches, "the hot path: a server without cookies that keeps case"
    guard.judge(guard.cookie + SERVER, guard.cookie, NOW)
    assert guard.watches
    guard.gives_no_cookies(NOW)
    assert not guard.watches
