"""Denials given again, also to names that were never asked before.

A flood of denied names is random labels below a few domains, and of nearly every domain
the policy says the same whatever stands before it (`Verdict.kin`). Two questions there
that differ in id and first label alone, and not in its length, have replies that differ
in just that: so one reply is taken apart around its first label and serves them all.

Knows questions and replies as bytes; must not know why something is denied.
Invariants: what is given is byte for byte what the road would give; a name leaves nothing
behind, and what its parents leave is bounded (10); whatever changes the rules empties it
in the same step. No clock: what kin are told does not change with time.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Final, NamedTuple

from dynallow.policy.names import to_text
from dynallow.wire.names import LABEL_MAX
from dynallow.wire.numbers import HEADER_SIZE
from dynallow.wire.question import Question

KEPT_MAX: Final = 4096
_ID: Final = 2
_SIZE: Final = HEADER_SIZE - _ID  # where the first label's length stands, the id being left out
_LABEL: Final = _SIZE + 1
_OPT_SIZE: Final = 11  # of one without options
# In the reason's text all others are escaped, and its length would change.
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
    """The last denials, by the length of the first label and all that follows it."""

    def __init__(self, size: int = KEPT_MAX) -> None:
        self.size = size
        self._kept: tuple[dict[bytes, _Kin], ...] = tuple({} for _ in range(LABEL_MAX + 1))
        # A table for each value of the byte; those of what is no label's length stay empty.
        self._tables = self._kept + ({},) * (256 - len(self._kept))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def fill(self, questions: Sequence[bytes], replies: list[bytes | None]) -> int:
        """Put what is known where no reply is yet, all of them less their ids; returns how many it were."""
        filled = 0
        tables = self._tables
        for slot, question in enumerate(questions):
            if replies[slot] is not None or len(question) < _LABEL:
                continue
            size = question[_SIZE]
            kin = tables[size].get(question[_LABEL + size :])
            if kin is None:
                continue
            asked, head, tail, named = kin
            if not question.startswith(asked):
                continue
            if named:
                label = question[_LABEL : _LABEL + size].lower()
                if label.translate(None, _UNESCAPED):
                    continue
                replies[slot] = b"".join((head, question[_SIZE:-_OPT_SIZE], tail, label, named))
            else:
                replies[slot] = head + question[_SIZE:] + tail
            filled += 1
        return filled

    def put(self, packet: bytes, question: Question, body: bytes) -> None:
        """Keep a denial that holds for the name's kin; `body` is the reply less its id."""
        name, section = question.name, question.section
        size = name[0]
        tail, named = body[_SIZE + len(section) :], b""
        behind = 0 if question.edns is None else _OPT_SIZE
        if len(packet) != HEADER_SIZE + len(section) + behind:
            return  # options differ from question to question (cookies), other records are anybody's idea
        if behind:
            label = name[1 : size + 1]
            named = b"." + to_text(name[size + 1 :]).encode()
            if label.translate(None, _UNESCAPED) or not tail.endswith(label + named):
                return  # it is escaped, or the text was cut
            tail = tail[: -size - len(named)]
        if self._count >= self.size:
            self.clear()
        kept = self._kept[size]
        before = len(kept)
        kept[packet[_ID + _LABEL + size :]] = _Kin(packet[_ID : HEADER_SIZE], body[:_SIZE], tail, named)
        self._count += len(kept) - before

    def clear(self) -> None:
        """Forget everything."""
        for table in self._kept:
            table.clear()
        self._count = 0
