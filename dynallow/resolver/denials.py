"""Denials given again: to the same question, and to names that were never asked before.

A flood of denied names is random labels below a few domains, and of nearly every domain
the policy says the same whatever stands before it (`Verdict.kin`). Two questions there
that differ in id and first label alone, and not in its length, have replies that differ
in just that: so one reply is taken apart around its first label and serves them all.

Knows questions and replies as bytes, without their ids; must not know why something is
denied. Invariants: what is given is byte for byte what the road would give; nothing is
kept longer than a client may keep it; what a stranger can leave here is bounded, and not
where the allowed names stand (10); whatever changes the rules empties it in the same
step. Time is an argument (monotonic seconds).
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Final, NamedTuple

from dynallow.policy.names import to_text
from dynallow.policy.verdict import FILTERED, Verdict
from dynallow.resolver.local import DENIAL_TTL_S
from dynallow.wire.numbers import HEADER_SIZE
from dynallow.wire.question import Question

KEPT_MAX: Final = 4096
_ID: Final = 2
_SIZE: Final = HEADER_SIZE - _ID  # where the first label's length stands
_LABEL: Final = _SIZE + 1
_OPT_SIZE: Final = 11  # of one without options
# In a reason's text all others are escaped, which changes its length.
_UNESCAPED: Final = string.ascii_letters.encode() + string.digits.encode() + b"_-"


class _Kin(NamedTuple):
    """A question's header, and its reply in parts."""

    asked: bytes
    head: bytes
    tail: bytes
    """What follows the question section; with EDNS only as far as to where the reason names the label."""
    named: bytes
    """With EDNS the rest of the name in the reason, which ends the reply; else empty."""


class Denials:
    """Replies by their questions, and their parts by the first label's length and all that follows it."""

    def __init__(self, size: int = KEPT_MAX) -> None:
        self.size = size
        self._denied: dict[bytes, bytes] = {}
        self._filtered: dict[bytes, bytes] = {}
        # A table for each value of the length byte; those of no label's length stay empty.
        self._kin: tuple[dict[bytes, _Kin], ...] = tuple({} for _ in range(256))
        self._parts = 0
        self._until = 0.0

    def __len__(self) -> int:
        return len(self._denied) + len(self._filtered) + self._parts

    def fill(
        self, questions: Sequence[bytes], replies: list[bytes | None], slots: list[int], now: float
    ) -> tuple[list[int], int]:
        """Put the denials that are known in those of `slots` where they belong.

        Returns the other slots, and in how many the type is filtered, not the name denied.
        """
        if now >= self._until:
            self.clear()
            self._until = now + DENIAL_TTL_S
        denied, filtered = self._denied, self._filtered
        others: list[int] = []
        count = 0
        for slot in slots:
            question = questions[slot]
            reply = denied.get(question) or self._by_kin(question)
            if reply is None and (reply := filtered.get(question)):
                count += 1
            if reply is None:
                others.append(slot)
            else:
                replies[slot] = reply
        return others, count

    def _by_kin(self, question: bytes) -> bytes | None:
        """The reply put together, and kept."""
        try:
            size = question[_SIZE]
            asked, head, tail, named = self._kin[size][question[_LABEL + size :]]
        except LookupError:
            return None
        if question[:_SIZE] != asked:
            return None
        if not named:
            reply = head + question[_SIZE:] + tail
        else:
            label = question[_LABEL : _LABEL + size].lower()
            if label.translate(None, _UNESCAPED):
                return None
            reply = b"".join((head, question[_SIZE:-_OPT_SIZE], tail, label, named))
        if len(self._denied) >= self.size:
            self._denied.clear()
        self._denied[question] = reply
        return reply

    def put(self, packet: bytes, question: Question, verdict: Verdict, body: bytes) -> None:
        """Keep a denial; `body` is the reply less its id."""
        behind = 0 if question.edns is None else _OPT_SIZE
        if len(packet) != HEADER_SIZE + len(question.section) + behind:
            return  # options differ from question to question (cookies), other records are anybody's idea
        if len(self) >= self.size:
            self.clear()
        if verdict.outcome is FILTERED:
            self._filtered[packet[_ID:]] = body
            return
        self._denied[packet[_ID:]] = body
        if verdict.kin:
            self._put_kin(packet, question, body)

    def _put_kin(self, packet: bytes, question: Question, body: bytes) -> None:
        name = question.name
        size = name[0]
        tail, named = body[_SIZE + len(question.section) :], b""
        if question.edns is not None:
            label = name[1 : size + 1]
            named = b"." + to_text(name[size + 1 :]).encode()
            if label.translate(None, _UNESCAPED) or not tail.endswith(label + named):
                return  # it is escaped, or the text was cut
            tail = tail[: -size - len(named)]
        kin = self._kin[size]
        before = len(kin)
        kin[packet[_ID + _LABEL + size :]] = _Kin(packet[_ID:HEADER_SIZE], body[:_SIZE], tail, named)
        self._parts += len(kin) - before

    def clear(self) -> None:
        """Forget everything."""
        self._denied.clear()
        self._filtered.clear()
        for kin in self._kin:
            kin.clear()
        self._parts = 0
