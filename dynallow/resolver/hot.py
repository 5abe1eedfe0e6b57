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
from dynallow.wire.render import Template, patch

_ID: Final = 2
TCP_ROOM: Final = 4 << 20
"""Bytes that replies for TCP take, counted with what Python puts around them."""
_ENTRY: Final = 700  # of one without records: objects, their places in the table
_RECORD: Final = 48  # offset and TTL of each record


_Reply = tuple[bytes, float, tuple[Template, int, float, float]]
"""The reply less its id, the monotonic second before which it may be given; and what it was: with which
TTL, when its answer ends, from when on that is asked for anew.

Plain tuples: one is made for every fresh answer, and read for every hot one. The answer itself, many
times as large, is none of its parts: it would stay here when the cache has let it go.
"""


def _made(template: Template, answer: Answer, told: int) -> _Reply:
    ends = answer.ends
    return template[0], ends - told, (template, told, ends, answer.renews)


def _lowered(reply: _Reply, now: float) -> _Reply | None:
    """The same with its TTL of this moment; None when it may not be given any more."""
    _body, _until, kept = reply
    template, first_told, ends, renews = kept
    told = int(ends - now)
    if told <= 0 or now >= renews:  # from then on the road is asked, and sees to a new one
        return None
    return patch(template, first_told - told), min(ends - told, renews), kept


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
            elif now < reply[1]:
                found.append(reply[0])
            else:
                found.append(self._lower(key, reply, now))
        return found

    def _lower(self, key: bytes, reply: _Reply, now: float) -> bytes | None:
        lowered = _lowered(reply, now)
        if lowered is None:
            del self._replies[key]
            return None
        self._replies[key] = lowered
        return lowered[0]

    def put(self, packet: bytes, template: Template, answer: Answer, told: int) -> None:
        """Keep a reply that tells this TTL, for as long as its answer may be told."""
        key, replies = packet[_ID:], self._replies
        size = len(replies)
        replies[key] = _made(template, answer, told)
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
        if now < reply[1]:
            return reply[0]
        lowered = _lowered(reply, now)
        if lowered is None:
            self._drop(key)
            return None
        self._replies[key] = lowered
        return lowered[0]

    def put(self, packet: bytes, template: Template, answer: Answer, told: int) -> None:
        """Keep a reply that tells this TTL as long as its answer may be told, if there is room for it."""
        key = packet[_ID:]
        if key in self._replies:
            self._drop(key)
        reply = _made(template, answer, told)
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
    """Bytes of memory: the reply as it was made stands beside the one that is given now."""
    return _ENTRY + len(key) + 2 * len(reply[0]) + _RECORD * len(reply[2][0][1])
