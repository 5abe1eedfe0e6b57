"""UDP replies that can be given again as they are, by the question's bytes after its id.

Invariants: what stands here was leased in this generation of the policy, and
whatever takes a lease or a rule away empties the store in the same step; no reply
tells a TTL above what is left (invariant 2). Time is an argument (monotonic seconds).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from dynallow.resolver.answer import Answer
from dynallow.wire.render import Template, patch

_ID: Final = 2


_Reply = tuple[bytes, float, tuple[Template, int, Answer]]
"""The reply less its id, the monotonic second before which it may be given; and what it was, with which TTL.

Plain tuples: one is made for every fresh answer, and read for every hot one.
"""


class HotReplies:
    """Answers: a hot question costs a look-up; their TTLs are lowered at most once a second."""

    def __init__(self, size: int) -> None:
        self.size = size
        # A plain dict looks for its oldest entry among all that were deleted: 9 µs where 10,000 stand.
        self._replies: OrderedDict[bytes, _Reply] = OrderedDict()

    def __len__(self) -> int:
        return len(self._replies)

    def find(self, keys: Sequence[bytes], now: float) -> list[bytes | None]:
        """The replies less their ids to questions less theirs; None where there is none."""
        found: list[bytes | None] = []
        get = self._replies.get
        for key in keys:
            reply = get(key)
            if reply is None:
                found.append(None)
            elif now < reply[1]:
                found.append(reply[0])
            else:
                found.append(self._lower(key, reply, now))
        return found

    def _lower(self, key: bytes, reply: _Reply, now: float) -> bytes | None:
        _body, _until, kept = reply
        template, first_told, answer = kept
        told = int(answer.ends - now)
        if told <= 0 or now >= answer.renews:  # from then on the road is asked, and sees to a new one
            del self._replies[key]
            return None
        body = patch(template, first_told - told)
        self._replies[key] = (body, min(answer.ends - told, answer.renews), kept)
        return body

    def put(self, packet: bytes, template: Template, answer: Answer, told: int) -> None:
        """Keep a reply that tells this TTL, for as long as its answer may be told."""
        key, replies = packet[_ID:], self._replies
        size = len(replies)
        replies[key] = (template.body, answer.ends - told, (template, told, answer))
        if len(replies) == size:
            replies.move_to_end(key)
        elif size >= self.size:
            replies.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._replies.clear()
