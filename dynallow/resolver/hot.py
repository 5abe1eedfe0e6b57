"""Replies that can be given again as they are, by the question's bytes after its id.

Two stores, one for each transport: over TCP a reply may be longer than UDP carries, and one
that is cut (TC) must never be given to who asked over TCP because of that.
Invariants: what stands here was leased in this generation of the policy, and
whatever takes a lease or a rule away empties the stores in the same step; no reply
tells a TTL above what is left (invariant 2); what stands here for TCP is bounded in
bytes, not by their number alone (10). Time is an argument (monotonic seconds).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from dynallow.resolver.answer import Answer
from dynallow.wire.render import Template, retold

_ID: Final = 2
TCP_ROOM: Final = 4 << 20
"""Bytes that replies for TCP take, counted with what Python puts around them."""
_ENTRY: Final = 700  # of one without records: objects, their places in the table
_RECORD: Final = 48  # where each record's TTL stands


class _Reply:
    """One that may be given again. One is made for every fresh answer, and read for every hot one.

    The answer itself, many times as large, is none of its parts: it would stay here when the cache has
    let it go.
    """

    __slots__ = ("body", "ends", "offsets", "renews", "until")

    def __init__(self, template: Template, answer: Answer, told: int) -> None:
        self.body, self.offsets = template
        """It, less its id, and where its TTLs stand."""
        self.ends = ends = answer.ends
        self.until = ends - told
        """The monotonic second before which it may be given as it is."""
        self.renews = answer.renews
        """From when on the answer is asked for anew."""

    def lower(self, now: float) -> bytes | None:
        """Tell the TTL of this moment from now on; None when it may not be given any more."""
        told = int(self.ends - now)
        if told <= 0 or now >= self.renews:  # from then on the road is asked, and sees to a new one
            return None
        self.body = body = retold((self.body, self.offsets), told)
        until = self.ends - told
        self.until = until if until < self.renews else self.renews
        return body


class HotReplies:
    """Over UDP: a hot question costs a look-up; their TTLs are lowered at most once a second."""

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
                body = reply.lower(now)
                if body is None:
                    del self._replies[key]
                found.append(body)
        return found

    def put(self, packet: bytes, template: Template, answer: Answer, told: int) -> None:
        """Keep a reply that tells this TTL, for as long as its answer may be told."""
        key, replies = packet[_ID:], self._replies
        size = len(replies)
        replies[key] = _Reply(template, answer, told)
        if len(replies) == size:
            replies.move_to_end(key)
        elif size >= self.size:
            replies.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._replies.clear()


class HotTcpReplies:
    """Over TCP: the same, one at a time; the oldest go when there is no room."""

    def __init__(self, room: int = TCP_ROOM) -> None:
        self.room = room
        self.taken = 0
        """Bytes of `room`."""
        self._replies: OrderedDict[bytes, _Reply] = OrderedDict()

    def __len__(self) -> int:
        return len(self._replies)

    def find(self, key: bytes, now: float) -> bytes | None:
        """The reply less its id to a question less its own, if there is one."""
        reply = self._replies.get(key)
        if reply is None:
            return None
        if now < reply.until:
            return reply.body
        body = reply.lower(now)
        if body is None:
            self._drop(key)
        return body

    def put(self, packet: bytes, template: Template, answer: Answer, told: int) -> None:
        """Keep a reply that tells this TTL as long as its answer may be told, if there is room for it."""
        key = packet[_ID:]
        if key in self._replies:
            self._drop(key)
        reply = _Reply(template, answer, told)
        takes = _takes(key, reply)
        if takes > self.room:
            return
        while self.taken + takes > self.room:
            self._drop(next(iter(self._replies)))
        self._replies[key] = reply
        self.taken += takes

    def _drop(self, key: bytes) -> None:
        self.taken -= _takes(key, self._replies.pop(key))

    def clear(self) -> None:
        """Forget everything."""
        self._replies.clear()
        self.taken = 0


def _takes(key: bytes, reply: _Reply) -> int:
    """Bytes of memory."""
    return _ENTRY + len(key) + len(reply.body) + _RECORD * len(reply.offsets)
