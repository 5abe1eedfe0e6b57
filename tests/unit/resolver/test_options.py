"""Options told back behind a reply: cookies, keepalive, and how they fit. The oracle is dnspython."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
from hypothesis import given
from hypothesis import strategies as st

from dynallow.resolver import local
from dynallow.resolver.options import HopOptions, may_have_options
from dynallow.wire import numbers as n
from dynallow.wire.question import parse_question
from dynallow.wire.render import render
from tests.unit.resolver.host import question

CLIENT = bytes((127, 0, 0, 1))
COOKIE, KEEPALIVE = 10, 11


class Hours:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def asked(*options: tuple[int, bytes], name: str = "x.example.org", payload: int = 1232) -> bytes:
    given: list[dns.edns.Option] = [
        dns.edns.GenericOption(dns.edns.OptionType.make(code), data) for code, data in options
    ]
    return dns.message.make_query(name, "A", use_edns=0, payload=payload, options=given).to_wire()


def reply_to(packet: bytes, *, ede: tuple[int, str] | None = None) -> bytes:
    question = parse_question(packet)
    told = render(question.section, flags=question.flags, rcode=0, edns=question.edns is not None, ede=ede)
    return packet[:2] + told[0]


def options_of(reply: bytes) -> list[tuple[int, bytes]]:
    return [(int(one.otype), one.to_wire() or b"") for one in dns.message.from_wire(reply).options]


def cookie_of(reply: bytes) -> bytes:
    (cookie,) = (data for code, data in options_of(reply) if code == COOKIE)
    return cookie


def test_tell_cookie_is_the_clients_and_a_hash_of_it_under_a_secret() -> None:
    one, other = HopOptions(), HopOptions()
    packet = asked((COOKIE, b"8 bytes!"))
    cookie = cookie_of(one.tell(reply_to(packet), packet, CLIENT))
    assert (len(cookie), cookie[:8]) == (24, b"8 bytes!")
    assert cookie_of(one.tell(reply_to(packet), packet, CLIENT)) == cookie
    assert cookie_of(one.tell(reply_to(packet), packet, bytes((127, 0, 0, 2)))) != cookie
    assert cookie_of(other.tell(reply_to(packet), packet, CLIENT)) != cookie


def test_tell_cookie_changes_with_the_secret_once_a_day() -> None:
    clock = Hours()
    options = HopOptions(clock)
    packet = asked((COOKIE, b"8 bytes!"))
    cookies = []
    for hours in (0, 23, 2, 23):
        clock.now_s += hours * 3600
        cookies.append(cookie_of(options.tell(reply_to(packet), packet, CLIENT)))
    assert cookies[0] == cookies[1] != cookies[2] == cookies[3]


def test_tell_first_of_two_cookies_counts() -> None:
    packet = asked((COOKIE, b"a" * 8), (COOKIE, b"b" * 8))
    assert cookie_of(HopOptions().tell(reply_to(packet), packet, CLIENT))[:8] == b"a" * 8


def test_tell_keepalive_only_over_tcp_and_only_to_who_asks_in_due_form() -> None:
    options = HopOptions()
    for data, idle_s, told in ((b"", 10.0, [(KEEPALIVE, b"\0\x64")]), (b"", None, []), (b"\0\1", 10.0, [])):
        packet = asked((KEEPALIVE, data))
        assert options_of(options.tell(reply_to(packet), packet, CLIENT, idle_s)) == told
    packet = asked((12, b""))
    assert options_of(options.tell(reply_to(packet), packet, CLIENT, 10.0)) == []


def test_tell_other_options_and_replies_without_opt_stay_as_they_are() -> None:
    options = HopOptions()
    for packet in (question(edns=False), question(), asked((12, bytes(30)), (65001, b"?")), b"\0" * 20):
        reply = reply_to(question())
        assert options.tell(reply, packet, CLIENT, 10.0) == reply
    packet = asked((COOKIE, b"8 bytes!"))
    bare = reply_to(question(edns=False))
    assert options.tell(bare, packet, CLIENT) == bare


def test_tell_stands_behind_the_extended_error() -> None:
    packet = asked((COOKIE, b"8 bytes!"))
    reply = HopOptions().tell(reply_to(packet, ede=(15, "t" * 200)), packet, CLIENT)
    assert [code for code, _ in options_of(reply)] == [15, COOKIE]


def test_tell_extended_error_gives_way_where_both_do_not_fit() -> None:
    packet = asked((COOKIE, b"8 bytes!"), name="y" * 60 + ".x" * 96, payload=512)
    reply = reply_to(packet, ede=(15, "t" * 200))
    assert 512 - 28 < len(reply) <= 512
    told = HopOptions().tell(reply, packet, CLIENT)
    assert [code for code, _ in options_of(told)] == [COOKIE]
    assert not dns.message.from_wire(told).flags & dns.flags.TC


def test_tell_error_replies_carry_the_cookie_too() -> None:
    packet = asked((COOKIE, b"8 bytes!"))
    parsed = parse_question(packet)
    refused = local.error(parsed.id, parsed.flags, n.REFUSED, parsed.section, parsed.edns)
    assert len(cookie_of(HopOptions().tell(refused, packet, CLIENT))) == 24


def test_refusal_cookie_of_a_size_that_none_has_is_formerr() -> None:
    good = {8, *range(16, 41)}
    for size in range(50):
        refusal = local.refusal(parse_question(asked((12, b""), (COOKIE, bytes(size)))))
        assert (refusal is None) == (size in good), size
        if refusal is not None:
            told = dns.message.from_wire(refusal)
            assert (told.rcode(), told.edns) == (n.FORMERR, 0)


def test_may_have_options_is_false_for_bare_questions_and_true_for_others() -> None:
    assert not may_have_options(question())
    assert not may_have_options(question(edns=False))
    assert may_have_options(asked((COOKIE, b"8 bytes!")))
    assert may_have_options(asked((12, bytes(40))))


@given(
    options=st.lists(st.tuples(st.sampled_from((10, 11, 12, 65001)), st.binary(max_size=60)), max_size=6),
    payload=st.integers(0, 2000),
    text=st.none() | st.binary(max_size=150),
    idle_s=st.none() | st.just(10.0),
)
def test_tell_any_options_give_a_reply_that_fits_and_reads_back(
    options: list[tuple[int, bytes]], payload: int, text: bytes | None, idle_s: float | None
) -> None:
    packet = asked(*options, payload=payload)
    # With the bytes that start an OPT record of ours in the middle of an option's text.
    ede = None if text is None else (15, text.decode("latin-1") + "\0\0)\x04")
    reply = reply_to(packet, ede=ede)
    told = HopOptions().tell(reply, packet, CLIENT, idle_s)
    message = dns.message.from_wire(told)
    assert len(told) <= (65535 if idle_s else max(512, min(payload, 1232)))
    codes = {code for code, _ in options_of(told)}
    assert codes <= {15} | {code for code, _ in options} & {COOKIE, KEEPALIVE}
    assert message.id == int.from_bytes(packet[:2], "big")
    assert [asked.name.to_text() for asked in message.question] == ["x.example.org."]
