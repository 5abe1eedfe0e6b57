"""What a datagram must be to be believed, invariant: our id, our question byte for byte, our client cookie.

Any bytes, and the right answer with some of its bytes changed; what dnspython reads in the
packet is the oracle. No datagram changes what the next one must be, but for the server's cookie.
"""

from __future__ import annotations

import os
import struct
from typing import cast

import dns.edns
import dns.exception
import dns.message
from hypothesis import given
from hypothesis import strategies as st

from dynallow.policy.names import parse_name
from dynallow.resolver.upstream.datagrams import Datagrams, Waiting, target
from dynallow.resolver.upstream.guard import Guard
from dynallow.tasks import Promise
from dynallow.units import parse_endpoint
from dynallow.wire.query import build_mixed, cookie_opt

NAME, A, NOW = parse_name("deb.example.org"), 1, 1000.0
SERVER = b"0123456789abcdef"
_CHANGES = st.lists(st.tuples(st.integers(0, 110), st.integers(1, 255)), max_size=3)


def waiting(knows_cookie: bool) -> Waiting:
    """A question in mixed case with a cookie, of a server that has shown one or not."""
    to = target(parse_endpoint("192.0.2.53", 53), Guard())
    to.guard.renew(NOW)
    to.guard.settle(to.guard.cookie, 0, NOW)
    if knows_cookie:
        assert to.guard.judge(to.guard.cookie + SERVER, to.guard.cookie, NOW)
    query = build_mixed(0x1234, NAME, A, to.guard.opt, os.urandom(len(NAME)))
    return Waiting(None, to, 0x1234, NAME, A, query, True, NOW, Promise())  # type: ignore[arg-type]


def right_answer(one: Waiting, cookie: bytes) -> bytes:
    record = struct.pack(">HHHIH", 0xC00C, A, 1, 300, 4) + bytes((192, 0, 2, 1))
    return one.query[:2] + struct.pack(">5H", 0x8180, 1, 1, 0, 1) + one.section + record + cookie_opt(cookie)


def heard(one: Waiting, packet: bytes) -> bool:
    """Whether it is taken for the answer."""
    datagrams = Datagrams(None)
    datagrams._waiting[0] = one
    datagrams._heed(0, one, packet)
    return 0 not in datagrams._waiting and not one.sent_to_tcp


@given(st.booleans(), st.booleans(), _CHANGES, st.one_of(st.none(), st.binary(max_size=120)))
def test_believed_is_only_what_has_our_id_question_and_cookie(
    knows_cookie: bool, with_cookie: bool, changes: list[tuple[int, int]], instead: bytes | None
) -> None:
    one = waiting(knows_cookie)
    guard = one.to.guard
    before = (guard.mixes, guard.settled, guard.cookie)
    packet = bytearray(right_answer(one, one.cookie + SERVER if with_cookie else b""))
    for at, flip in changes:
        packet[at % len(packet)] ^= flip
    if instead is not None:
        packet[12 + len(one.section) :] = instead
    believed = heard(one, bytes(packet))
    assert (guard.mixes, guard.settled, guard.cookie) == before
    assert guard.expects >= knows_cookie
    if not changes and instead is None:
        assert believed is (with_cookie or not knows_cookie)
    if not believed:
        return
    assert packet[:2] == one.query[:2]
    bare = len(packet) == 12 and packet[3] & 15  # an error that says nothing else
    assert bare or packet[12 : 12 + len(one.section)] == one.section
    try:
        told = dns.message.from_wire(bytes(packet), ignore_trailing=True)
    except dns.exception.DNSException:
        return  # it is stricter with types that are of no use here
    cookies = [cast(dns.edns.GenericOption, each).to_wire() for each in told.options if each.otype == 10]
    if cookies:
        assert (cookies[0] or b"")[:8] == one.cookie or not cookies[0]
    else:
        assert not knows_cookie
