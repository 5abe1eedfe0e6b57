"""Any nf_tables transaction as one datagram: BATCH_BEGIN, messages, BATCH_END.

Pure bytes. What a fresh answer waits for is packed by `elements.Batch`, which knows less and is faster;
this is for the ruleset. Each message has a number of its own, so that the kernel's refusal names what it
refused. Keeps: one acknowledgement, asked of the last message; all of it holds or nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from dynallow.firewall.expressions import text
from dynallow.firewall.ruleset import TABLE

_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_F_REQUEST, _F_ACK, _F_CREATE, _F_APPEND = 0x1, 0x4, 0x400, 0x800
_HEADER = struct.Struct("=IHHII")
_INET = struct.pack(">BBH", 1, 0, 0)  # nfgenmsg: NFPROTO_INET
_BATCH = struct.pack(">BBH", 0, 0, _SUBSYSTEM)
OF_TABLE = text(1, TABLE)
"""NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, …: all 1."""

NEW_TABLE, DELETE_TABLE = 0, 2
NEW_CHAIN, DELETE_CHAIN = 3, 5
NEW_RULE, DELETE_RULE = 6, 8
NEW_SET, DELETE_SET = 9, 11
NEW_ELEMENTS = 12
NEW_OBJECT = 18


class Transaction:
    """Messages in order."""

    def __init__(self) -> None:
        self._messages: list[tuple[int, int, bytes]] = []
        self._told: list[str] = []
        self._sets = 0

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Each message's kind, and what it is about in words."""
        return ((kind & 0xFF, what) for (kind, _, _), what in zip(self._messages, self._told, strict=True))

    def add(self, kind: int, what: str, *attributes: bytes) -> None:
        """Make something of our table; `what` is it in words, for who is told of a refusal."""
        flags = _F_CREATE | _F_APPEND if kind == NEW_RULE else _F_CREATE
        self._append(kind, flags, what, attributes)

    def delete(self, kind: int, what: str, *attributes: bytes) -> None:
        """Take something of our table away."""
        self._append(kind, 0, what, attributes)

    def _append(self, kind: int, flags: int, what: str, attributes: tuple[bytes, ...]) -> None:
        body = b"".join((_INET, OF_TABLE, *attributes))
        self._messages.append((_SUBSYSTEM << 8 | kind, flags | _F_REQUEST, body))
        self._told.append(what)

    def new_set_id(self) -> int:
        """A number for a set that this transaction makes and refers to."""
        self._sets += 1
        return self._sets

    def pack(self, first: int) -> bytes:
        """The datagram; its messages are numbered from `first`, and the last one is acknowledged."""
        last = len(self._messages) - 1
        parts = [_HEADER.pack(20, _BATCH_BEGIN, _F_REQUEST, 0, 0), _BATCH]
        for index, (kind, flags, body) in enumerate(self._messages):
            asked = flags | _F_ACK if index == last else flags
            parts += (_HEADER.pack(16 + len(body), kind, asked, first + index, 0), body)
        parts += (_HEADER.pack(20, _BATCH_END, _F_REQUEST, 0, 0), _BATCH)
        return b"".join(parts)

    def what(self, index: int) -> str:
        """The message of this index, in words."""
        return self._told[index] if 0 <= index < len(self._told) else "the transaction"
