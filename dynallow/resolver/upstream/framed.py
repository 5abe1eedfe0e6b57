"""DNS messages on a stream, each behind its length (RFC 7766, RFC 7858): plain TCP and TLS alike.

Knows ids and framing; must not know whether the stream is encrypted. Answers may
come in any order. Whatever answers nothing that was asked on this connection ends
it: here no forger speaks, so the server is broken, and what it says next is not
to be matched with other questions.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Final

from dynallow.resolver.upstream.asked import Asked, Message, turned_away
from dynallow.resolver.upstream.line import ON_ONE_LINE, Line, Owner
from dynallow.wire import numbers as n

_length: Final = struct.Struct(">H").pack
_option: Final = struct.Struct(">HHH").pack
_PADDING: Final = 12
_GIVEN_UP_MAX = 256  # a server that owes more answers than this keeps none of its promises


class FramedLine(Line):
    """`query` makes the message for an id, a name, a type and `how`; `draw` gives ids nobody can foresee."""

    slice_bytes = 2048

    def __init__(
        self, owner: Owner, query: Callable[[int, bytes, int, int], bytes], draw: Callable[[], int]
    ) -> None:
        super().__init__(owner)
        self._query = query
        self._draw = draw
        self._asked: dict[int, Asked] = {}
        self._ids: dict[Asked, int] = {}
        self._given_up: set[int] = set()
        """Ids whose answers nobody waits for; they are not used again before these came."""
        self._kept = bytearray()

    def send(self, asked: Asked) -> None:
        if len(self._asked) + len(self._given_up) >= ON_ONE_LINE:
            raise turned_away(f"{ON_ONE_LINE} questions in flight on one connection")
        while (ident := self._draw()) in self._asked or ident in self._given_up:
            pass
        self._asked[ident], self._ids[asked] = asked, ident
        message = self._query(ident, asked.name, asked.qtype, asked.how)
        self.write(_length(len(message)) + message)  # in one write (RFC 7766 section 8)

    def give_up(self, asked: Asked) -> None:
        ident = self._ids.pop(asked, None)
        if ident is None:
            return
        del self._asked[ident]
        self._given_up.add(ident)
        if len(self._given_up) > _GIVEN_UP_MAX:
            self.break_off(f"{_GIVEN_UP_MAX} questions without an answer")

    def waiting(self) -> Iterable[Asked]:
        return self._asked.values()

    def received(self, data: bytes) -> None:
        kept = self._kept
        kept += data
        start = 0
        while len(kept) - start >= 2:
            end = start + 2 + (kept[start] << 8 | kept[start + 1])
            if end > len(kept):
                break
            self._heed(bytes(kept[start + 2 : end]))
            start = end
            if self.why_lost:
                return
        if start:
            del kept[:start]

    def _heed(self, packet: bytes) -> None:
        ident = packet[0] << 8 | packet[1] if len(packet) >= n.HEADER_SIZE else -1
        asked = self._asked.pop(ident, None)
        if asked is not None:
            del self._ids[asked]
            self.tell(asked, Message(packet, ident))
        elif ident in self._given_up:
            self._given_up.discard(ident)
            self.answers += 1
        else:
            self.owner.counts.mismatched += 1
            self.break_off("it sent what answers nothing")


def padded(query: bytes, block: int = 128) -> bytes:
    """The query, which ends with an empty OPT record, in whole blocks (RFC 7830, RFC 8467 section 4.1).

    Its length would tell who watches the wire much of what the encryption hides.
    """
    fill = -(len(query) + 4) % block
    return query[:-2] + _option(4 + fill, _PADDING, fill) + bytes(fill)
