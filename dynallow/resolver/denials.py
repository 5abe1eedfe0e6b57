"""Denials given again: to the same question, and to names that were never asked before.

A flood of denied names is random labels below a few domains, and of nearly every domain
the policy says the same whatever stands before it (`Verdict.kin`). Two questions there
of one length that differ in id and in those labels alone have replies that differ in just
that: so one reply is taken apart around the name, and serves them all.

Knows questions and replies as bytes, without their ids; must not know why something is
denied. Invariants: what is given is byte for byte what the road would give; what may
change with time is kept no longer than a client may keep it; what a stranger can leave
here is bounded, and not where the allowed names stand (10); whatever changes the rules
empties it in the same step. Time is an argument (monotonic seconds).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from dynallow.policy.names import ROOT, Name, to_text
from dynallow.policy.verdict import FILTERED, Verdict
from dynallow.resolver.local import DENIAL_TTL_S
from dynallow.resolver.seen import Seen
from dynallow.wire.names import LABEL_MAX
from dynallow.wire.numbers import HEADER_SIZE
from dynallow.wire.question import Question

KEPT_MAX: Final = 4096
_ID: Final = 2
_NAME: Final = HEADER_SIZE - _ID
_OPT_SIZE: Final = 11  # of one without options
_STEPS: Final = range(6)  # labels before the part that is looked for: more would cost more than the road


class _Kin(NamedTuple):
    """A question's header, and its reply in parts."""

    asked: bytes
    head: bytes
    tail: bytes
    """What follows the question section; with EDNS only as far as to where the reason says the name."""
    named: str
    """With EDNS the rest of the name in the reason, which ends the reply; else empty."""


class Denials:
    """Replies by their questions, and their parts by the question's length and what its name ends in."""

    def __init__(self, size: int = KEPT_MAX) -> None:
        self.size = size
        self.seen = Seen()
        self._keep_s = float(DENIAL_TTL_S)
        self._denied: dict[bytes, bytes] = {}
        self._filtered: dict[bytes, bytes] = {}
        self._asked: set[Name] = set()
        """The names whose own denials were put here."""
        self._tops: set[Name] = set()
        """The domains of which one denial serves all names below."""
        self._kin: dict[int, dict[bytes, _Kin]] = {}
        self._parts = 0
        self._until = 0.0

    def __len__(self) -> int:
        return len(self._denied) + len(self._filtered) + self._parts

    def keep_for(self, seconds: float) -> None:
        """What may change with time is kept so long from now on; nothing of what is here."""
        self.clear()
        self._keep_s, self._until = seconds, 0.0

    def fill(
        self, questions: Sequence[bytes], replies: list[bytes | None], slots: list[int], now: float
    ) -> tuple[list[int], int]:
        """Put the denials that are known in those of `slots` where they belong.

        Returns the other slots, and in how many the type is filtered, not the name denied.
        """
        if now >= self._until:
            self._denied.clear()
            self._asked.clear()
            self._filtered.clear()
            self._until = now + self._keep_s
        denied, filtered = self._denied, self._filtered
        seen_denied, seen_kin, seen_filtered = self.seen.again()
        others: list[int] = []
        count = 0
        for slot in slots:
            question = questions[slot]
            if reply := denied.get(question):
                replies[slot] = reply
                seen_denied[question] = seen_denied.get(question, 0) + 1
            elif reply := self._by_kin(question):
                replies[slot] = reply
                seen_kin.append(question)
            elif reply := filtered.get(question):
                replies[slot] = reply
                seen_filtered[question] = seen_filtered.get(question, 0) + 1
                count += 1
            else:
                others.append(slot)
        return others, count

    def _by_kin(self, question: bytes) -> bytes | None:
        """The reply put together, and kept."""
        table = self._kin.get(len(question))
        if table is None:
            return None
        start = _NAME
        kin = None
        try:
            for _ in _STEPS:
                size = question[start]
                if not 0 < size <= LABEL_MAX:
                    return None
                start += size + 1
                kin = table.get(question[start:])
                if kin is not None:
                    break
        except IndexError:
            return None
        if kin is None or question[:_NAME] != kin.asked:
            return None
        asked, head, tail, named = kin
        label = question[_NAME]
        if not named:
            reply = head + question[_NAME:] + tail
        else:
            text = to_text(question[_NAME:start].lower() + ROOT)
            if len(text) != start - _NAME - 1:
                return None  # escapes: the text is longer
            reply = head + question[_NAME:-_OPT_SIZE] + tail + (text + named).encode()
            named = text[label:] + named
        parent = _NAME + 1 + label
        if start > parent:  # most floods have few parents: found in one step from now on
            self._keep(len(question), question[parent:], _Kin(asked, head, tail, named))
        if len(self._denied) >= self.size:
            self._denied.clear()
        self._denied[question] = reply
        return reply

    def put(self, packet: bytes, question: Question, verdict: Verdict, body: bytes) -> None:
        """Keep a denial; `body` is the reply less its id."""
        behind = 0 if question.edns is None else _OPT_SIZE
        if len(packet) != HEADER_SIZE + len(question.section) + behind:
            return  # options differ from question to question (cookies), other records are anybody's idea
        if len(self) >= self.size or len(self._asked) + len(self._tops) >= self.size:
            self.clear()
        if verdict.kin:
            self._put_kin(packet, question, verdict.kin, body)
            return
        self._asked.add(question.name)
        if verdict.outcome is FILTERED:
            self._filtered[packet[_ID:]] = body
        else:
            self._denied[packet[_ID:]] = body

    def _put_kin(self, packet: bytes, question: Question, kin: int, body: bytes) -> None:
        name = question.name
        tail, named = body[_NAME + len(question.section) :], ""
        start = 0
        for _ in _STEPS:
            start += name[start] + 1
            if start == kin:
                break
        if question.edns is not None:
            text = to_text(name)
            if len(text) != len(name) - 2 or not tail.endswith(text.encode()):
                return  # there are escapes in it, or it was cut
            tail, named = tail[: -len(text)], text[start - 1 :]
        self._tops.add(name[start:])
        parts = _Kin(packet[_ID:HEADER_SIZE], body[:_NAME], tail, named)
        self._keep(len(packet) - _ID, packet[HEADER_SIZE + start :], parts)

    def _keep(self, length: int, ending: bytes, kin: _Kin) -> None:
        """For questions of this length (octets, without id) that end in this."""
        if self._parts >= self.size:
            self._kin.clear()
            self._parts = 0
        table = self._kin.setdefault(length, {})
        self._parts += ending not in table
        table[ending] = kin

    def uncover(self, names: Iterable[Name]) -> None:
        """Forget everything if a denial may stand ready for one of these, or for what it lies below."""
        tops, asked = self._tops, self._asked
        for name in names:
            while name[0] and (tops or asked):
                if name in tops or name in asked:
                    self.clear()
                name = name[name[0] + 1 :]

    def clear(self) -> None:
        """Forget everything."""
        self._denied.clear()
        self._asked.clear()
        self._tops.clear()
        self._filtered.clear()
        self._kin.clear()
        self._parts = 0
