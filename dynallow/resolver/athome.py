"""Answers that this host itself knows: localhost, and the names behind leased addresses.

Knows the special names and who can tell a name by its address. Must not know sockets, nft or the ledger.
Keeps: grants nothing (loopback is open anyway, a PTR record holds no address); nothing from here is put
into any store, so a lease that is taken away is told of no more from that moment on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from dynallow.policy.names import Name, labels
from dynallow.policy.reserved import LOCALHOST, REVERSE_V4, REVERSE_V6, reserved
from dynallow.policy.verdict import DENIED, Verdict
from dynallow.resolver import local
from dynallow.wire import numbers as n
from dynallow.wire.names import is_at_or_below
from dynallow.wire.question import Question
from dynallow.wire.render import render

Earned = Callable[[bytes, float], Iterable[tuple[Name, float]]]
"""The names that have earned a packed address, each with the end of its lease; in monotonic seconds."""

ENDINGS: Final = (LOCALHOST, REVERSE_V4, REVERSE_V6)
"""What the names end in of which `answer` may say anything."""
PTR_TTL_S: Final = 60
"""At most so long may a client tell of a lease that was taken away."""
NAMES_MAX: Final = 8
_LOCALHOST_TTL_S: Final = 3600
_LABELS_V4: Final = 4 + 2
_LABELS_V6: Final = 32 + 2
_NIBBLES: Final = frozenset(bytes((digit,)) for digit in b"0123456789abcdef")
_LOOPBACK: Final = {n.A: bytes((127, 0, 0, 1)), n.AAAA: bytes(15) + b"\1"}
_NO_DATA: Final = Verdict(DENIED, reason="localhost is this host (RFC 6761)", names_below=True)


def answer(
    question: Question, verdict: Verdict, earned: Earned, now: float, max_size: int, ttl_s: int
) -> tuple[bytes, bool] | None:
    """The reply, less its id, to a question that no rule allows, and whether it tells anything.

    A denial may be remembered for `ttl_s`. None: this host knows no more of the name than anybody.
    """
    if reserved(question.name) == LOCALHOST:
        if question.qtype in _LOOPBACK:
            rdata = _LOOPBACK[question.qtype]
            return _tell(question, question.qtype, _LOCALHOST_TTL_S, (rdata,), max_size)
        return local.denial(question, _NO_DATA, "nxdomain", max_size, ttl_s), True
    zone = next((zone for zone in (REVERSE_V4, REVERSE_V6) if is_at_or_below(question.name, zone)), None)
    if zone is None:
        return None
    if len(labels(question.name)) < (_LABELS_V4 if zone == REVERSE_V4 else _LABELS_V6):
        # Above addresses: NXDOMAIN would deny those that are leased as well (RFC 8020).
        return local.denial(question, replace(verdict, names_below=True), "nxdomain", max_size, ttl_s), False
    names, holds_s = _names(address_of(question.name), earned, now)
    if names and question.qtype == n.PTR:
        return _tell(question, n.PTR, holds_s, names, max_size)
    known = bool(names) or verdict.names_below
    return local.denial(question, replace(verdict, names_below=known), "nxdomain", max_size, ttl_s), False


def address_of(name: Name) -> bytes | None:
    """The packed address that a reverse name stands for (RFC 1035 section 3.5, RFC 3596 section 2.5)."""
    parts = labels(name)[-3::-1]
    if name.endswith(REVERSE_V4):
        numbers = [int(part) for part in parts if part.isdigit() and (part == b"0" or part[0] != ord("0"))]
        return bytes(numbers) if len(parts) == len(numbers) == 4 and max(numbers) < 256 else None
    if len(parts) != 32 or any(part not in _NIBBLES for part in parts):
        return None
    return bytes.fromhex(b"".join(parts).decode("ascii"))


def _names(address: bytes | None, earned: Earned, now: float) -> tuple[tuple[Name, ...], int]:
    """The names to tell, and for how long they hold."""
    if address is None:
        return (), 0
    if address in _LOOPBACK.values():
        return (LOCALHOST,), _LOCALHOST_TTL_S
    ends: dict[Name, float] = {}
    for name, end in earned(address, now):
        if name and end > now and len(ends) < NAMES_MAX:  # of some adopted leases no name is known
            ends[name] = max(end, ends.get(name, end))
    return tuple(ends), min(PTR_TTL_S, int(min(ends.values(), default=now) - now))


def _tell(
    question: Question, rtype: int, ttl_s: int, rdatas: tuple[bytes, ...], max_size: int
) -> tuple[bytes, bool]:
    reply = render(
        question.section,
        flags=question.flags,
        rcode=n.NOERROR,
        records=[(question.name, rtype, ttl_s, rdata) for rdata in rdatas],
        edns=question.edns is not None,
        do=question.do,
        max_size=max_size,
    )
    return reply[0], True
