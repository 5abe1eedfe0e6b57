"""One question on a stream, and the ways in which it can end without an answer.

Knows nothing of connections. What a stream raises is one of these, TimeoutError,
WireError or the OSError that the kernel gave; all of them are a failed try.
"""

from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from dynallow.resolver.upstream.line import Line


_WHY_MAX = 160


class LostError(ConnectionResetError):
    """The connection went while the question was on it: it may be asked again on another."""


class TurnedAwayError(OSError):
    """The server was reached, and what it said is no answer: a bad certificate, HTTP status 429."""


def lost(why: str) -> LostError:
    """The error that says why the connection is gone."""
    return LostError(errno.ECONNRESET, _plain(why))


def turned_away(why: str) -> TurnedAwayError:
    """The error that says what was wrong with the server."""
    return TurnedAwayError(errno.EPROTO, _plain(why))


def _plain(why: str) -> str:
    """For one line of a log: part of it may be the server's own words."""
    return "".join(char if char.isprintable() else "?" for char in why[:_WHY_MAX])


class Message(NamedTuple):
    """What came back: the packet, the id that it must have, and for how long a cache has held it."""

    packet: bytes
    ident: int
    age_s: int = 0


@dataclass(slots=True, eq=False)
class Asked:
    """A question that waits for its answer, or for the connection that it will go out on."""

    name: bytes
    qtype: int
    told: asyncio.Future[Message]
    how: int = 0
    """Which of DO and CD are set."""
    line: Line | None = None
    answers_before: int = 0
    """What the connection had answered when this went out: no more since then, and it may be dead."""
