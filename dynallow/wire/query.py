"""The question that goes upstream.

Knows the message format only; whose question it is and where it goes is the
resolver's. Invariant: what is sent is exactly what `parse_response` compares
the echo with: the name as given, class IN.
"""

from __future__ import annotations

import struct
from typing import Final

from dynallow.wire import numbers as n
from dynallow.wire.names import Name

_head: Final = struct.Struct(">6H").pack
_tail: Final = struct.Struct(">HHBHHIH").pack


def build_query(id: int, name: Name, qtype: int, how: int = 0, *, udp_size: int = n.UDP_SAFE) -> bytes:
    """A recursive query for `name`, `qtype`, IN, with an OPT record.

    `how` is DO (RFC 3225), CD (RFC 4035 section 3.2.2), both, or neither: two bits that do not overlap.
    """
    return (
        _head(id, n.RD | how & n.CD, 1, 0, 0, 1)
        + name
        + _tail(qtype, n.CLASS_IN, 0, n.OPT, udp_size, how & n.DO, 0)
    )
