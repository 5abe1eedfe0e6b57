"""UDP replies that can be given again as they are, by the question's bytes after its id.

Invariants: what stands here was leased in this generation of the policy, and
whatever takes a lease or a rule away empties the store in the same step; no reply
tells a TTL above what is left (invariant 2). Time is an argument (monotonic seconds).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dynallow.resolver.answer import Answer
from dynallow.wire.render import Template, patch

_ID: Final = 2


@dataclass(slots=True)
class _Reply:
    """`body` is the reply less its id, and may be given before `until` (monotonic second)."""

    body: bytes
    until: float
    template: Template
    ttl_s: int
    ends: float
    renews: float


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
            elif now < reply.until:
                found.append(reply.body)
            else:
                found.append(self._lower(key, reply, now))
        return found

    def _lower(self, key: bytes, reply: _Reply, now: float) -> bytes | None:
        told = int(reply.ends - now)
        if told <= 0 or now >= reply.renews:  # from then on the road is asked, and sees to a new one
            del self._replies[key]
            return None
        reply.body = patch(reply.template, reply.ttl_s - told)
        reply.until = min(reply.ends - told, reply.renews)
        return reply.body

    def put(self, packet: bytes, template: Template, answer: Answer) -> None:
        """Keep a reply for as long as its answer may be told."""
        key, ttl_s, ends = packet[_ID:], answer.ttl_s, answer.ends
        self._replies.pop(key, None)
        self._replies[key] = _Reply(template.body, ends - ttl_s, template, ttl_s, ends, answer.renews)
        if len(self._replies) > self.size:
            self._replies.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._replies.clear()
