"""What a TCP question was told before, and is told again without a step on the road.

Knows the road's stores; `Road.repeat` and `HotReplies.find` are the same for a burst over UDP.
Invariant: what was cut to fit a datagram is given to nobody here: answers have a store of their
own for TCP, and denials fit any datagram.
"""

from __future__ import annotations

from dynallow.resolver.road import Road


def again(road: Road, question: bytes, now: float) -> bytes | None:
    """The reply if it is known; both are less their ids, `now` is monotonic seconds."""
    reply = road.hot_tcp.find(question, now)
    if reply is not None:
        road.counts.hot += 1
        return reply
    replies: list[bytes | None] = [None]
    road.repeat((question,), replies, [0], now)
    return replies[0]
