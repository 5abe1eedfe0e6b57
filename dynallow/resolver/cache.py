"""Answers that were given, and replies that can be given again as they are.

Invariant: what stands here was leased, in this generation of the policy.
Whatever takes a lease or a rule away empties both stores in the same step.
Time is an argument (monotonic seconds).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from dynallow.resolver.answer import Answer
from dynallow.wire.render import Template, patch

Key = tuple[bytes, int]


class AnswerCache:
    """By (name, type), at most `size`; the oldest goes first.

    An answer past its end stays for `stale_s` more: no client gets it unless
    every upstream fails (RFC 8767).
    """

    def __init__(self, size: int, stale_s: float) -> None:
        self.size = size
        self.stale_s = stale_s
        self.evicted = 0
        # A plain dict looks for its oldest entry among all that were deleted: 9 µs where 10,000 stand.
        self._answers: OrderedDict[Key, Answer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def fresh(self, key: Key, now: float) -> Answer | None:
        """The answer that may be told now."""
        answer = self._answers.get(key)
        return answer if answer is not None and answer.ends > now else None

    def stale(self, key: Key, now: float) -> Answer | None:
        """The answer that may be told when no upstream answers."""
        answer = self._answers.get(key)
        if answer is None or answer.data_ends + self.stale_s <= now:
            return None
        # Its rules' end is nothing that stretches.
        return answer if answer.rules_end is None or answer.rules_end > now else None

    def put(self, key: Key, answer: Answer) -> None:
        """Keep an answer whose leases hold."""
        self._answers.pop(key, None)
        self._answers[key] = answer
        if len(self._answers) > self.size:
            self._answers.popitem(last=False)
            self.evicted += 1

    def clear(self) -> None:
        """Forget everything."""
        self._answers.clear()


@dataclass(slots=True)
class _Reply:
    template: Template
    ttl_s: int
    ends: float
    told: int
    body: bytes


class HotReplies:
    """Rendered UDP replies by the question's bytes after its id.

    The same bytes get the same reply, but for the id and the TTLs, which are
    lowered at most once a second: a hot question costs a look-up and a join.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._replies: dict[bytes, _Reply] = {}

    def __len__(self) -> int:
        return len(self._replies)

    def get(self, packet: bytes, now: float) -> bytes | None:
        """The reply to `packet`, or None."""
        reply = self._replies.get(packet[2:])
        if reply is None:
            return None
        told = int(reply.ends - now)
        if told <= 0:
            del self._replies[packet[2:]]
            return None
        if told != reply.told:
            reply.body = patch(reply.template, reply.ttl_s - told)
            reply.told = told
        return packet[:2] + reply.body

    def put(self, packet: bytes, template: Template, answer: Answer) -> None:
        """Keep a reply for as long as its answer may be told."""
        self._replies[packet[2:]] = _Reply(template, answer.ttl_s, answer.ends, -1, b"")
        if len(self._replies) > self.size:
            del self._replies[next(iter(self._replies))]

    def clear(self) -> None:
        """Forget everything."""
        self._replies.clear()
