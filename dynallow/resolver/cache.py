"""Answers that were given, by name, type and how they were asked for.

Invariant: what stands here was leased, in this generation of the policy.
Whatever takes a lease or a rule away empties it in the same step. Time is an
argument (monotonic seconds).
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice

from dynallow.resolver.answer import Answer
from dynallow.wire import numbers as n

Key = tuple[bytes, int, int, tuple[int, ...]]
"""Name, type, the bits of DO and CD with which it is asked upstream, and of a derived name its rules.

What was asked for with CD may be bogus: nobody gets it who did not ask so (RFC 4035 section 3.2.2). The
rules of a derived name change while it is in use; those of others do only when all this is forgotten.
"""


def without_cd(key: Key) -> Key:
    """The same, asked for without CD: what is told to all may be told to him as well."""
    return key[0], key[1], key[2] & ~n.CD, key[3]


class AnswerCache:
    """By `Key`, at most `size`; the oldest goes first.

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
        answers = self._answers
        size = len(answers)
        answers[key] = answer
        if len(answers) == size:
            answers.move_to_end(key)
        elif size >= self.size:
            answers.popitem(last=False)
            self.evicted += 1

    def newest(self, count: int) -> list[tuple[Key, Answer]]:
        """The answers that were put here last, these first; at one stroke."""
        return list(islice(reversed(self._answers.items()), count))

    def clear(self) -> None:
        """Forget everything."""
        self._answers.clear()
