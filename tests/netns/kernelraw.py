"""All that the kernel tells of `table inet dynallow`, as it tells it, for comparing one table with another.

Knows the dump requests, and which attributes are numbers that a table only happens to have. Must not know
what the rest means: what differs in any bit is different.
"""

from __future__ import annotations

import struct

from dynallow.firewall.listing import attributes, list_all

_NETFILTER, _NFTABLES = 12, 10 << 8
_INET = struct.pack(">BBH", 1, 0, 0)
_CHAINS, _RULES, _SETS, _ELEMENTS, _OBJECTS = 4, 7, 10, 13, 19
_HANDLES = {_CHAINS: {2}, _RULES: {3, 6}, _SETS: {16}, _OBJECTS: {6}}
_NAME, _LISTED = 2, 3

Told = tuple[tuple[int, bytes], ...]


def everything() -> dict[str, list[Told]]:
    """Chains, sets with their elements, counters and rules, in order (elements sorted)."""
    found = {
        what: [_without_handles(kind, body) for body in list_all(_NETFILTER, _NFTABLES | kind, _INET)]
        for what, kind in (("chains", _CHAINS), ("sets", _SETS), ("objects", _OBJECTS), ("rules", _RULES))
    }
    for told in found["sets"]:
        name = dict(told)[_NAME]
        found[f"elements of {name.decode()}"] = sorted(_elements(name))
    return found


def _without_handles(kind: int, body: bytes) -> Told:
    return tuple((one, value) for one, value in attributes(body, 4).items() if one not in _HANDLES[kind])


def _elements(name: bytes) -> list[Told]:
    asked = _INET + b"".join(
        struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
        for kind, value in ((1, b"dynallow\0"), (_NAME, name))
    )
    return [
        tuple(attributes(element).items())
        for body in list_all(_NETFILTER, _NFTABLES | _ELEMENTS, asked)
        for element in _each(attributes(body, 4).get(_LISTED, b""))
    ]


def _each(listed: bytes) -> list[bytes]:
    found, offset = [], 0
    while offset < len(listed):
        (length,) = struct.unpack_from("=H", listed, offset)
        found.append(listed[offset + 4 : offset + length])
        offset += (length + 3) & ~3
    return found
