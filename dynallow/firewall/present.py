"""What the kernel has of the table now: its named sets and its chains.

Knows nf_tables' attributes of both (include/uapi/linux/netfilter/nf_tables.h).
Must not know what ought to be there. Raises KernelError where it may not look.
"""

from __future__ import annotations

import struct

from dynallow.firewall.listing import Attributes, attributes, list_all
from dynallow.firewall.netlink import translate
from dynallow.firewall.ruleset import TABLE, Family
from dynallow.firewall.text import Present, PresentChain, PresentSet, SetShape

_NETLINK_NETFILTER = 12
_GETCHAIN, _GETSET = (10 << 8) | 4, (10 << 8) | 10
_ALL_OF_INET = struct.pack(">BBH", 1, 0, 0)  # nfgenmsg: NFPROTO_INET
_SET_TABLE, _SET_NAME, _SET_FLAGS, _SET_KEY_TYPE, _SET_DESC, _SET_EXPR = 1, 2, 3, 4, 9, 17
_DESC_SIZE = 1
_FLAG_ANONYMOUS, _FLAG_TIMEOUT = 0x1, 0x10
_FAMILIES: dict[int, Family] = {7: 4, 8: 6}  # nft's own numbers for ipv4_addr and ipv6_addr
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_TYPE = 1, 3, 4, 7
_HOOK_NUMBER, _HOOK_PRIORITY = 1, 2


def read_present() -> Present:
    """The sets and chains that the table has now; empty when there is no table."""
    try:
        found = [attributes(body, len(_ALL_OF_INET)) for body in _list(_GETSET)]
        sets = tuple(
            PresentSet(_text(one, _SET_NAME), _shape(one))
            for one in found
            if _text(one, _SET_TABLE) == TABLE and not _number(one, _SET_FLAGS) & _FLAG_ANONYMOUS
        )
        found = [attributes(body, len(_ALL_OF_INET)) for body in _list(_GETCHAIN)]
        chains = tuple(
            PresentChain(_text(one, _CHAIN_NAME), _hook(one))
            for one in found
            if _text(one, _CHAIN_TABLE) == TABLE
        )
    except OSError as error:
        raise translate(error.errno or 0, "reading the table") from error
    return Present(sets, chains)


def _list(kind: int) -> list[bytes]:
    return list_all(_NETLINK_NETFILTER, kind, _ALL_OF_INET)


def _shape(found: Attributes) -> SetShape | None:
    """What must be equal for a set to be kept; None for one that cannot be any of ours."""
    family = _FAMILIES.get(_number(found, _SET_KEY_TYPE))
    if family is None or _number(found, _SET_FLAGS) != _FLAG_TIMEOUT:
        return None
    size = _number(attributes(found.get(_SET_DESC, b"")), _DESC_SIZE)
    return SetShape(family, size, _SET_EXPR in found)


def _hook(found: Attributes) -> tuple[str, int, int] | None:
    """Type, hook number and priority of a base chain."""
    if _CHAIN_HOOK not in found:
        return None
    hook = attributes(found[_CHAIN_HOOK])
    priority = struct.unpack(">i", hook[_HOOK_PRIORITY])[0]
    return _text(found, _CHAIN_TYPE), _number(hook, _HOOK_NUMBER), priority


def _number(found: Attributes, kind: int) -> int:
    return int.from_bytes(found.get(kind, b""), "big")


def _text(found: Attributes, kind: int) -> str:
    return found.get(kind, b"").rstrip(b"\0").decode("utf-8", "replace")
