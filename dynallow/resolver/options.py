"""EDNS options that concern the client and us alone, told back behind the reply's OPT record.

- Cookies (RFC 7873): a question with a client cookie gets it back with a server
  cookie; that is what lets a client throw away forged replies. Nothing rests on
  what comes back, so a question is answered alike with a good, an old or no
  server cookie, and BADCOOKIE is never said. So RFC 9018's SipHash, there for
  several servers behind one address, is not needed: ours is a keyed hash of
  client cookie and address under a secret that no other process has.
- Keepalive (RFC 7828): over TCP a client that asks is told how long it may idle.
- Padding (RFC 7830) is for encrypted transports, and passed over as are all others.

Knows the bytes of an OPT record; must not know what the reply says. Invariants:
a reply carries no option that the question did not; one that does not fit with
its options is cut whole, TC set.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
import time
from collections.abc import Callable
from typing import Final

from dynallow.wire import numbers as n
from dynallow.wire.question import Edns, Question, QuestionError, parse_question

_COOKIE: Final = 10
_KEEPALIVE: Final = 11
_CLIENT_COOKIE: Final = 8
_SERVER_COOKIE: Final = 16
_COOKIE_SIZES: Final = frozenset((_CLIENT_COOKIE, *range(16, 41)))  # RFC 7873 section 5.2.2
_SECRET_S: Final = 86_400.0  # RFC 7873 section 7.1: between some hours and a month

_OPT_TYPE: Final = struct.pack(">BH", 0, n.OPT)
_OPT_OURS: Final = struct.pack(">BHH", 0, n.OPT, n.UDP_SAFE)
_OPT_SIZE: Final = 11


def may_have_options(packet: bytes) -> bool:
    """False for nearly every question: no OPT record, or a bare one at the very end.

    So cheap that it may stand before every reply. True may be wrong; False is only where somebody
    has made his last option end like a bare OPT record, and then he gets no option back.
    """
    return packet[11] != 0 and (packet[-11:-8] != _OPT_TYPE or packet[-2:] != b"\0\0")


def is_malformed(edns: Edns) -> bool:
    """Whether there is a cookie of a size that none has (FORMERR). Only the first one counts."""
    for code, data in edns.options:
        if code == _COOKIE:
            return len(data) not in _COOKIE_SIZES
    return False


class HopOptions:
    """What is told back; one for all listeners. Its secret is this process's, and changes once a day."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._secret = b""
        self._until = 0.0

    def tell(self, reply: bytes, packet: bytes, address: bytes, idle_s: float | None = None) -> bytes:
        """`reply` with the options that `packet` asks for.

        `address` is the client's, packed; `idle_s` how long its TCP connection may idle, None over UDP.
        """
        try:
            question = parse_question(packet)
        except QuestionError:
            return reply
        edns = question.edns
        if edns is None or edns.version != 0:  # another version's options mean something else
            return reply
        given = dict(reversed(edns.options))  # of several alike the first one counts
        told = b""
        if len(cookie := given.get(_COOKIE, b"")) in _COOKIE_SIZES:
            told += self._cookie(cookie[:_CLIENT_COOKIE], address)
        if idle_s is not None and given.get(_KEEPALIVE) == b"":
            told += struct.pack(">HHH", _KEEPALIVE, 2, int(idle_s * 10))
        if not told:
            return reply
        max_size = n.MESSAGE_MAX if idle_s is not None else min(question.udp_size, n.UDP_SAFE)
        return _append(reply, told, question, max_size)

    def _cookie(self, client: bytes, address: bytes) -> bytes:
        now = self._clock()
        if now >= self._until:
            self._secret, self._until = secrets.token_bytes(32), now + _SECRET_S
        server = hashlib.blake2s(client + address, key=self._secret, digest_size=_SERVER_COOKIE).digest()
        return struct.pack(">HH", _COOKIE, _CLIENT_COOKIE + _SERVER_COOKIE) + client + server


def _append(reply: bytes, told: bytes, question: Question, max_size: int) -> bytes:
    """`told` as the last options of the OPT record, which ends each reply of ours."""
    opt = _opt_of(reply)
    if not opt:
        return reply
    before = reply[: -len(opt)]
    if len(reply) + len(told) > max_size:
        opt = opt[:_OPT_SIZE]  # the answer matters more than its footnote (EDE)
    if len(before) + len(opt) + len(told) > max_size:
        ident, flags = struct.unpack_from(">HH", reply)
        before = struct.pack(">6H", ident, flags | n.TC, 1, 0, 0, 1) + question.section
    told = opt[_OPT_SIZE:] + told
    return before + opt[: _OPT_SIZE - 2] + struct.pack(">H", len(told)) + told


def _opt_of(reply: bytes) -> bytes:
    """The OPT record at the end of a reply; empty when there is none."""
    at = len(reply)
    while (at := reply.rfind(_OPT_OURS, 0, at)) >= 0:  # those bytes may stand in an option's text
        if at + _OPT_SIZE + int.from_bytes(reply[at + 9 : at + 11], "big") == len(reply):
            return reply[at:]
    return b""
