"""Whether questions are answered: one is asked of each UDP listener, from outside, as any client would.

Knows the listening addresses and what every agent answers by itself: a name below localhost (RFC 6761),
another one each time, so that no store has it. Must not know what failing means.

Keeps: nobody who asks much can make it fail. A flood in which our packets are lost is no failure while
others' are answered, and nothing is asked over TCP, where a thousand connections would keep us waiting.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Iterable

from dynallow.errors import DynallowError
from dynallow.policy.names import parse_name
from dynallow.resolver.counts import Counts
from dynallow.units import Address, Endpoint
from dynallow.wire import numbers as n
from dynallow.wire.query import build_query

_TRY_S = 1.0
_TRIES = 3
_BUSY = 1000
"""Others' questions that were answered meanwhile: as good a proof as our own."""
_LOOPBACK = {4: "127.0.0.1", 6: "::1"}
_RECEIVE = 4096
_ADDRESS_RECORDS = b"\0\1"  # ANCOUNT


async def answering(endpoints: Iterable[Endpoint], counts: Counts) -> None:
    """Return when each has answered. Raises DynallowError."""
    before = _answered(counts)
    asked = list(endpoints)
    answered = await asyncio.gather(*map(_answers, asked))
    silent = [str(endpoint) for endpoint, well in zip(asked, answered, strict=True) if not well]
    if silent and _answered(counts) - before < _BUSY:
        raise DynallowError(f"no answer from {', '.join(silent)}", "systemctl restart dynallow")


def _answered(counts: Counts) -> int:
    """Whatever they were told: a flood of what is no question, too, is read and seen to."""
    given = counts.hot + counts.cached + counts.fresh + counts.joined + counts.local
    return given + counts.denied + counts.filtered + counts.refused + counts.malformed + counts.overload


async def _answers(endpoint: Endpoint) -> bool:
    loop = asyncio.get_running_loop()
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    family = socket.AF_INET6 if endpoint.address.version == 6 else socket.AF_INET
    with socket.socket(family, kind) as sock:
        try:
            sock.connect((_reachable(endpoint.address), endpoint.port))
        except OSError:
            return False
        for _ in range(_TRIES):
            question = _question()
            try:
                sock.send(question)
                async with asyncio.timeout(_TRY_S):
                    while not _is_answer(await loop.sock_recv(sock, _RECEIVE), question):
                        pass
                return True
            except OSError:  # TimeoutError, ECONNREFUSED, EPERM of another table
                continue
    return False


def _question() -> bytes:
    name = parse_name(f"{secrets.token_hex(8)}.localhost")
    return build_query(secrets.randbits(16), name, n.A)


def _is_answer(reply: bytes, question: bytes) -> bool:
    """A positive one, to this question."""
    flags = int.from_bytes(reply[2:4], "big")
    return (
        reply[:2] == question[:2]
        and bool(flags & n.QR)
        and flags & 0xF == n.NOERROR
        and reply[6:8] == _ADDRESS_RECORDS
    )


def _reachable(address: Address) -> str:
    return _LOOPBACK[address.version] if address.is_unspecified else str(address)
