"""Case and cookies of questions over UDP, on real sockets: who keeps them, who does not, and who forges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import NamedTuple

import dns.edns
import dns.flags
import dns.message
import pytest

from dynallow.errors import UpstreamError
from dynallow.policy.names import parse_name
from dynallow.resolver.upstream import guard
from dynallow.resolver.upstream.exchange import Exchange
from dynallow.resolver.upstream.guard import Guard
from dynallow.resolver.upstream.pool import Upstreams
from dynallow.resolver.upstream.server import Server
from dynallow.units import parse_endpoint
from dynallow.wire.response import Response
from tests.unit.resolver.nameserver import Handler, Nameserver, answer, in_lower_case, in_other_case
from tests.unit.resolver.responses import records

DEB = parse_name("deb.example.org")
A, COOKIE, BADCOOKIE = 1, 10, 23
RIGHT = "deb.example.org 300 IN A 192.0.2.1"
EVIL = "deb.example.org 300 IN A 192.0.2.66"
SERVER = b"0123456789abcdef"


class Asked(NamedTuple):
    """What came of the questions, and what is known of the server after them."""

    responses: list[Response | UpstreamError]
    server: Nameserver
    exchange: Exchange
    guard: Guard
    sent: list[str]
    """The names as they went out, probes left out."""

    @property
    def right(self) -> int:
        """How many answers are the right ones; none may be another."""
        told = [[record[3] for record in one.answer] for one in self.responses if isinstance(one, Response)]
        assert all(one == [ip_address("192.0.2.1").packed] for one in told), told
        return len(told)


def ask(handler: Handler, times: int = 1, between: Callable[[int, Nameserver], None] | None = None) -> Asked:
    """Ask a server with this handler `times` for DEB, one after the other."""

    async def work() -> Asked:
        async with Nameserver(handler) as nameserver:
            exchange = Exchange(None)
            server = Server(nameserver.endpoint)
            upstreams = Upstreams(exchange, [server], timeout_s=0.4)
            found: list[Response | UpstreamError] = []
            for number in range(times):
                if between is not None:
                    between(number, nameserver)
                try:
                    found.append(await upstreams.ask(DEB, A))
                except UpstreamError as error:
                    found.append(error)
            upstreams.close()
            exchange.close()
            sent = [one.question[0].name.to_text() for one in nameserver.asked]
            sent = [name for name in sent if name.lower() == "deb.example.org."]
            return Asked(found, nameserver, exchange, server.target.guard, sent)

    return asyncio.run(work())


def right(query: dns.message.Message) -> bytes:
    return answer(query, records(RIGHT))


# ---------------------------------------------------------------- case


def test_case_of_each_question_is_another_and_the_answer_is_in_lower_case() -> None:
    asked = ask(lambda query, tcp: [right(query)], times=20)
    assert asked.right == 20
    assert len(set(asked.sent)) > 15
    assert {record[0] for one in asked.responses if isinstance(one, Response) for record in one.answer} == {
        DEB
    }
    assert asked.exchange.counts.tcp == 0


def test_case_that_the_server_changes_costs_one_question_over_tcp() -> None:
    asked = ask(lambda query, tcp: [in_other_case(right(query))], times=6)
    assert asked.right == 6
    assert (asked.exchange.counts.tcp, asked.exchange.counts.miscased) == (1, 1)
    assert not asked.guard.mixes
    assert asked.sent[2:] == ["deb.example.org."] * 5, "asked in lower case, answered in upper case"


def test_case_that_only_datagrams_lack_is_a_forgers_for_all_anybody_can_say() -> None:
    def lower(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
        return [right(query) if tcp else in_other_case(right(query))]

    asked = ask(lower, times=6)
    assert asked.right == 6
    assert asked.exchange.counts.tcp == 6
    assert asked.guard.mixes


def test_case_of_a_server_without_tcp_is_given_up_after_three_questions() -> None:
    asked = ask(lambda query, tcp: [] if tcp else [in_lower_case(right(query))], times=6)
    assert asked.right == 6
    assert asked.exchange.counts.tcp == 3
    assert not asked.guard.mixes


def test_case_of_a_server_without_tcp_that_is_not_even_lower_case_is_never_believed() -> None:
    """Asked in lower case it could as well answer so; a forger who has guessed once would be believed."""
    asked = ask(lambda query, tcp: [] if tcp else [in_other_case(answer(query, records(EVIL)))], times=2)
    assert asked.right == 0
    assert asked.guard.mixes


def test_forged_answer_in_another_case_is_dropped_and_case_goes_on_to_count() -> None:
    def forged_first(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
        return [right(query)] if tcp else [in_other_case(answer(query, records(EVIL))), right(query)]

    asked = ask(forged_first, times=6)
    assert asked.right == 6
    assert asked.exchange.counts.miscased == 6
    assert asked.guard.mixes


def test_forged_answer_in_another_case_without_tcp_and_the_right_one_behind_it_goes_on_to_count() -> None:
    """He cannot say three times in a row, either, that the server changes it: it says otherwise itself."""

    def forged_first(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
        return [] if tcp else [in_other_case(answer(query, records(EVIL))), right(query)]

    asked = ask(forged_first, times=6)
    assert asked.right == 6
    assert asked.exchange.counts.tcp == 6
    assert asked.guard.mixes


# ---------------------------------------------------------------- cookies


def cookie_of(query: dns.message.Message) -> bytes:
    return next((bytes(one.to_wire() or b"") for one in query.options if one.otype == COOKIE), b"")


def with_cookie(
    query: dns.message.Message, cookie: bytes, rcode: str = "NOERROR", line: str = RIGHT
) -> bytes:
    reply = dns.message.from_wire(answer(query, records(line) if rcode == "NOERROR" else [], rcode=rcode))
    reply.use_edns(
        0, reply.ednsflags, 1232, options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, cookie)]
    )
    return reply.to_wire()


def giving(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
    """A server that gives cookies."""
    return [with_cookie(query, cookie_of(query)[:8] + SERVER)]


def test_cookie_of_the_server_comes_back_with_the_next_question() -> None:
    asked = ask(giving, times=3)
    assert asked.right == 3
    first, *others = [cookie_of(query) for query in asked.server.asked]
    assert len(first) == 8
    assert others == [first + SERVER] * 2
    assert asked.exchange.counts.tcp == 0


def test_cookie_is_none_that_two_servers_share() -> None:
    first, second = (cookie_of(ask(giving).server.asked[0]) for _ in range(2))
    assert first != second


def test_answer_with_another_cookie_is_dropped_and_the_try_goes_to_tcp() -> None:
    def forged_first(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
        honest = with_cookie(query, cookie_of(query)[:8] + SERVER)
        return [honest] if tcp else [with_cookie(query, bytes(8) + SERVER, line=EVIL), honest]

    asked = ask(forged_first, times=2)
    assert asked.right == 2
    assert (asked.exchange.counts.mismatched, asked.exchange.counts.tcp) == (2, 2)


def test_answer_without_cookie_is_dropped_once_the_server_has_given_some() -> None:
    def forging(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
        forged = [answer(query, records(EVIL))] if not tcp and len(cookie_of(query)) > 8 else []
        return [*forged, *giving(query, tcp)]

    asked = ask(forging, times=5)
    assert asked.right == 5
    assert (asked.exchange.counts.cookieless, asked.exchange.counts.tcp) == (4, 4)
    assert asked.guard.expects


def test_server_that_gives_no_cookies_any_more_costs_one_question_over_tcp() -> None:
    def no_more(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
        return [right(query)]

    def change(number: int, server: Nameserver) -> None:
        server.handler = giving if number < 2 else no_more

    asked = ask(giving, times=6, between=change)
    assert asked.right == 6
    assert (asked.exchange.counts.cookieless, asked.exchange.counts.tcp) == (1, 1)
    assert not asked.guard.expects


def test_server_that_gives_no_cookies_any_more_and_has_no_tcp_costs_one_question() -> None:
    def change(number: int, server: Nameserver) -> None:
        server.handler = giving if number < 2 else lambda query, tcp: [] if tcp else [right(query)]

    asked = ask(giving, times=6, between=change)
    assert asked.right == 5
    assert not asked.guard.expects


@pytest.mark.parametrize("gave", [False, True])
@pytest.mark.parametrize("rcode", [None, "FORMERR"])
def test_server_that_takes_no_options_any_more_is_asked_without_after_a_while(
    monkeypatch: pytest.MonkeyPatch, gave: bool, rcode: str | None
) -> None:
    monkeypatch.setattr(guard, "_SILENCE_S", 0.0)  # the second silence is one that lasts

    def other(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
        if not cookie_of(query):
            return [right(query)]
        return [] if rcode is None else [answer(query, [], rcode=rcode)]

    def change(number: int, server: Nameserver) -> None:
        server.handler = other if number >= 2 else giving if gave else lambda query, tcp: [right(query)]

    asked = ask(giving, times=6, between=change)
    assert asked.right == 6
    assert [len(cookie_of(query)) for query in asked.server.asked][-2:] == [0, 0]


def test_servers_at_one_address_of_which_every_other_gives_cookies_are_all_believed() -> None:
    def change(number: int, server: Nameserver) -> None:
        server.handler = giving if number % 2 else lambda query, tcp: [right(query)]

    asked = ask(giving, times=10, between=change)
    assert asked.right == 10
    assert asked.exchange.counts.tcp == 1


def test_badcookie_is_asked_again_at_once_with_the_cookie_that_it_brought() -> None:
    def strict(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
        good = cookie_of(query)[:8] + SERVER
        return [with_cookie(query, good, "NOERROR" if tcp or cookie_of(query) == good else "BADCOOKIE")]

    asked = ask(strict, times=3)
    assert asked.right == 3
    assert len(asked.sent) == 4
    assert asked.exchange.counts.tcp == 0


def test_badcookie_twice_is_asked_over_tcp() -> None:
    def never_content(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
        return [with_cookie(query, cookie_of(query)[:8] + SERVER, "NOERROR" if tcp else "BADCOOKIE")]

    asked = ask(never_content)
    assert asked.right == 1
    assert (len(asked.sent), asked.exchange.counts.tcp) == (3, 1)


def test_badcookie_without_a_cookie_is_no_server_that_can_be_used() -> None:
    def odd(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
        reply = dns.message.make_response(query)
        reply.set_rcode(dns.rcode.BADCOOKIE)
        return [reply.to_wire()]

    asked = ask(odd)
    (error,) = asked.responses
    assert isinstance(error, UpstreamError)
    assert "rcode 23" in error.message


def test_server_that_finds_options_malformed_is_asked_without() -> None:
    def old(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
        return [answer(query, [], rcode="FORMERR") if cookie_of(query) else right(query)]

    asked = ask(old, times=3)
    assert asked.right == 3
    assert [len(cookie_of(query)) for query in asked.server.asked] == [8, 0, 0, 0]


def test_server_that_answers_no_question_with_options_is_asked_without() -> None:
    def firewalled(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
        return [] if cookie_of(query) else [right(query)]

    asked = ask(firewalled, times=4)
    assert asked.right == 4
    deb = [query for query in asked.server.asked if query.question[0].rdtype == 1]
    assert [len(cookie_of(query)) for query in deb][-2:] == [0, 0]
    assert sum(bool(cookie_of(query)) for query in deb) <= 2


@pytest.mark.parametrize("whole", [False, True])
def test_server_that_sends_options_back_as_they_came_is_believed_and_never_expected_to(whole: bool) -> None:
    def echoing(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
        return [with_cookie(query, cookie_of(query)) if whole else right(query)]

    asked = ask(echoing, times=3)
    assert asked.right == 3
    assert not asked.guard.expects
    assert {len(cookie_of(query)) for query in asked.server.asked} == {8}


def test_guard_of_a_server_outlives_the_pool_that_a_reload_replaces() -> None:
    exchange, endpoint = Exchange(None), parse_endpoint("192.0.2.53", 53)
    first = Server(endpoint, guard=exchange.guard(endpoint))
    second = Server(endpoint, guard=exchange.guard(endpoint))
    assert first.target.guard is second.target.guard
    assert first.target.guard is not Exchange(None).guard(endpoint)
