"""Denials given again: to whom, to whom not, for how long, and within which bounds."""

from __future__ import annotations

import dns.edns
import dns.message
import pytest

from dynallow.policy.policy import Policy
from dynallow.resolver.denials import Denials
from dynallow.resolver.local import DENIAL_TTL_S, denial
from dynallow.wire.question import parse_question
from tests.unit.resolver.host import DEB, policy, question

WEB = policy(web=DEB)


def put(denials: Denials, packet: bytes, rules: Policy = WEB) -> bytes:
    """Deny it as the road does."""
    asked = parse_question(packet)
    verdict = rules.decide(asked.name, asked.qtype, 0.0)
    body = denial(asked, verdict, "nxdomain", 1232)
    denials.put(packet, asked, verdict, body)
    return body


def fill(denials: Denials, *packets: bytes, now: float = 5.0) -> tuple[list[bytes | None], list[int], int]:
    """The replies, which slots are left, and how many are filtered."""
    replies: list[bytes | None] = [None] * len(packets)
    slots = list(range(len(packets)))
    return replies, *denials.fill([packet[2:] for packet in packets], replies, slots, now)


@pytest.fixture
def denials() -> Denials:
    empty = Denials()
    fill(empty)  # begins its time
    return empty


def test_fill_same_question_gets_the_same_reply(denials: Denials) -> None:
    body = put(denials, question("a.example.net"))
    assert fill(denials, question("a.example.net", id=9)) == ([body], [], 0)


@pytest.mark.parametrize("edns", [False, True])
@pytest.mark.parametrize("other", ["b.example.net", "X.example.net", "a.b.c.d.net", "a.x.a.x.net"])
def test_fill_kin_of_the_same_length_gets_what_the_road_says(
    denials: Denials, edns: bool, other: str
) -> None:
    put(denials, question("a" * (len(other) - 4) + ".net", edns=edns))
    expected = put(Denials(), question(other, edns=edns))
    replies, left, _ = fill(denials, question(other, edns=edns))
    assert (replies, left) == ([expected], [])


@pytest.mark.parametrize("other", ["bb.example.net", "b.example.com", "b\\032.example.net", "b.example.NET"])
def test_fill_what_differs_in_more_is_left_to_the_road(denials: Denials, other: str) -> None:
    put(denials, question("a.example.net"))
    assert fill(denials, question(other)) == ([None], [0], 0)


def test_fill_label_whose_bytes_are_escaped_in_the_reason_is_left_to_the_road(denials: Denials) -> None:
    put(denials, question("aa.example.net"))
    assert fill(denials, question("b\\032.example.net"))[1] == [0]
    put(denials, question("aa.example.net", edns=False))
    assert fill(denials, question("b\\032.example.net", edns=False))[1] == []


def test_fill_another_type_flag_or_opt_is_left_to_the_road(denials: Denials) -> None:
    packet = question("a.example.net")
    put(denials, packet)
    other_flag = packet[:3] + bytes([packet[3] | 0x10]) + packet[4:]
    other_opt = packet[:-8] + b"\x10\0" + packet[-6:]
    left = fill(denials, question("a.example.net", "AAAA"), other_flag, other_opt)[1]
    assert left == [0, 1, 2]


def test_fill_ends_of_packets_and_names_run_out_are_left_to_the_road(denials: Denials) -> None:
    packet = question("a.example.net")
    put(denials, packet)
    cut = [packet[:size] for size in range(2, len(packet))]
    assert fill(denials, *cut)[1] == list(range(len(cut)))
    lying = packet[:12] + b"\x40" + packet[13:]
    assert fill(denials, lying, packet[:12] + bytes(len(packet) - 12))[1] == [0, 1]


@pytest.mark.parametrize("name", [b"\x40" + b"x" * 64, b"\0\x3f" + b"x" * 63, b"\0\0" + b"\x3e" + b"x" * 62])
def test_fill_bytes_before_that_are_no_labels_are_left_to_the_road(denials: Denials, name: bytes) -> None:
    packet = question("a" * 31 + "." + "b" * 32 + ".net")
    put(denials, packet)
    assert fill(denials, packet[:12] + name + packet[12 + len(name) :])[1] == [0]


def test_fill_name_beside_an_allowed_one_is_given_to_itself_alone(denials: Denials) -> None:
    put(denials, question("bad.example.org"))
    assert fill(denials, question("bad.example.org"), question(DEB), question("abc.example.org"))[1] == [1, 2]


def test_fill_filtered_type_is_counted_apart(denials: Denials) -> None:
    body = put(denials, question(DEB, "TXT"))
    assert fill(denials, question(DEB, "TXT"), question(DEB)) == ([body, None], [1], 1)


def test_fill_keeps_what_stands_in_other_slots(denials: Denials) -> None:
    body = put(denials, question("a.example.net"))
    replies: list[bytes | None] = [b"hot", None]
    packets = [question("a.example.net")[2:]] * 2
    assert denials.fill(packets, replies, [1], 5.0) == ([], 0)
    assert replies == [b"hot", body]


def test_denials_that_time_may_change_are_gone_after_their_ttl(denials: Denials) -> None:
    packets = question("bad.example.org"), question(DEB, "TXT")
    for packet in packets:
        put(denials, packet)
    assert fill(denials, *packets, now=4.9 + DENIAL_TTL_S)[1] == []
    assert fill(denials, *packets, now=5.0 + DENIAL_TTL_S)[1] == [0, 1]


def test_denials_kept_for_another_time_begin_anew(denials: Denials) -> None:
    packet = question("bad.example.org")
    put(denials, packet)
    denials.keep_for(2.0)
    assert fill(denials, packet)[1] == [0]
    put(denials, packet)
    assert fill(denials, packet, now=6.9)[1] == []
    assert fill(denials, packet, now=7.0)[1] == [0]


def test_denials_cleared_are_gone(denials: Denials) -> None:
    packets = question("a.example.net"), question("bad.example.org"), question(DEB, "TXT")
    for packet in packets:
        put(denials, packet)
    denials.clear()
    assert len(denials) == 0
    assert fill(denials, *packets)[1] == [0, 1, 2]


@pytest.mark.parametrize("edns", [False, True])
def test_put_any_flood_stays_within_twice_the_size(edns: bool) -> None:
    denials = Denials(16)
    most = 0
    for number in range(120):
        for name in (f"n{number}.example.net", f"n{number}.example.org", "x" * (number % 60 + 1) + ".net"):
            packet = question(name, edns=edns)
            if fill(denials, packet)[1]:
                put(denials, packet)
            most = max(most, len(denials))
    assert 16 <= most <= 33


def test_put_question_with_options_or_other_records_is_not_kept(denials: Denials) -> None:
    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")
    put(denials, question("a.example.net", options=[cookie]))
    other = dns.message.make_query("a.example.net", "A", use_edns=0).to_wire()
    put(denials, other[:-10] + b"\0\xfa" + other[-8:])  # TSIG's number, as short as OPT
    assert len(denials) == 0


def test_put_reason_that_was_cut_is_not_told_to_kin(denials: Denials) -> None:
    long = ".".join(["a" * 50] * 4)
    put(denials, question(f"{long}.net"))
    assert fill(denials, question(f"b{long[1:]}.net"))[1] == [0]
