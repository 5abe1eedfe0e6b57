"""What the kernel has of the table now: its owner, its named sets, its chains, its counter.

Knows nf_tables' attributes of them (include/uapi/linux/netfilter/nf_tables.h).
Must not know what ought to be there. Raises KernelError where it may not look.
Not through `nft list`: whatever that is asked for, it reads every element of
every set first, 2 s with 100,000 leases.
"""

from __future__ import annotations

import errno
import struct

from dynallow.errors import KernelError
from dynallow.firewall.encode import FLOW_TYPES
from dynallow.firewall.listing import Attributes, attributes, list_all
from dynallow.firewall.netlink import translate
from dynallow.firewall.ruleset import DENIED_COUNTER, TABLE, Family
from dynallow.firewall.step import Flags, Present, PresentChain, PresentSet, SetShape

_NETLINK_NETFILTER = 12
_GETTABLE, _GETCHAIN, _GETSET, _GETOBJ = (10 << 8) | 1, (10 << 8) | 4, (10 << 8) | 10, (10 << 8) | 19
_TABLE_NAME, _TABLE_FLAGS, _TABLE_HANDLE, _TABLE_OWNER = 1, 2, 4, 7
_ALL_OF_INET = struct.pack(">BBH", 1, 0, 0)  # nfgenmsg: NFPROTO_INET
_SET_TABLE, _SET_NAME, _SET_FLAGS, _SET_KEY_TYPE, _SET_DESC, _SET_EXPR, _SET_COUNT = 1, 2, 3, 4, 9, 17, 20
_DESC_SIZE = 1
_SET_TIMEOUT, _SET_HANDLE = 11, 16
_FLAG_ANONYMOUS, _FLAG_TIMEOUT, _FLAG_DYNAMIC = 0x1, 0x10, 0x20
_FAMILIES: dict[int, Family] = {7: 4, 8: 6}  # nft's own numbers for ipv4_addr and ipv6_addr
_FLOWS = {number: family for family, number in FLOW_TYPES.items()}
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE = 1, 3, 4, 5, 7
_HOOK_NUMBER, _HOOK_PRIORITY = 1, 2
_VERDICTS = {0: "drop", 1: "accept"}
_OBJ_TABLE, _OBJ_NAME, _OBJ_TYPE, _OBJ_DATA = 1, 2, 3, 4
_OBJ_COUNTER = 1
_COUNTER_BYTES, _COUNTER_PACKETS = 1, 2


def read_present() -> Present:
    """The table's owner, and the sets and chains that it has now; empty when there is no table."""
    flags, owner = read_owner()
    sets = tuple(
        PresentSet(_text(one, _SET_NAME), _shape(one))
        for one in _list(_GETSET, _SET_TABLE)
        if not _number(one, _SET_FLAGS) & _FLAG_ANONYMOUS
    )
    chains = tuple(
        PresentChain(_text(one, _CHAIN_NAME), _hook(one)) for one in _list(_GETCHAIN, _CHAIN_TABLE)
    )
    return Present(sets, chains, flags, owner)


def read_owner() -> tuple[Flags | None, int]:
    """The table's flags, None without a table, and the netlink port of its owner, 0 without one."""
    for one in _list(_GETTABLE, _TABLE_NAME):
        return Flags(_number(one, _TABLE_FLAGS)), _number(one, _TABLE_OWNER)
    return None, 0


def read_counts() -> dict[str, int | None]:
    """How many elements each set has, lapsed ones that are not yet collected included.

    None from a kernel that does not tell: before 6.16 or thereabouts.
    """
    return {
        _text(one, _SET_NAME): _number(one, _SET_COUNT) if _SET_COUNT in one else None
        for one in _list(_GETSET, _SET_TABLE)
    }


def read_policy(chain: str) -> str | None:
    """ "drop" or "accept", a base chain's policy, "none" of another chain; None: no such chain."""
    for one in _list(_GETCHAIN, _CHAIN_TABLE):
        if _text(one, _CHAIN_NAME) == chain:
            return _VERDICTS.get(_number(one, _CHAIN_POLICY), "none") if _CHAIN_POLICY in one else "none"
    return None


def read_denied() -> tuple[int, int]:
    """Packets and bytes that the denied chain has counted."""
    for one in _list(_GETOBJ, _OBJ_TABLE):
        if _text(one, _OBJ_NAME) == DENIED_COUNTER and _number(one, _OBJ_TYPE) == _OBJ_COUNTER:
            counter = attributes(one.get(_OBJ_DATA, b""))
            return _number(counter, _COUNTER_PACKETS), _number(counter, _COUNTER_BYTES)
    return 0, 0


def read_handles() -> dict[str, tuple[int, int]]:
    """What the kernel numbers the table and each set by; others where they have been made anew.

    Raises TableMissingError where there is no table.
    """
    for one in _list(_GETTABLE, _TABLE_NAME):
        table = _number(one, _TABLE_HANDLE)
        return {
            _text(each, _SET_NAME): (table, _number(each, _SET_HANDLE)) for each in _list(_GETSET, _SET_TABLE)
        }
    raise translate(errno.ENOENT, "reading the table")


def _list(kind: int, table: int) -> list[Attributes]:
    """All of one kind in our table, whose name is in attribute `table`."""
    try:
        bodies = list_all(_NETLINK_NETFILTER, kind, _ALL_OF_INET)
    except PermissionError as error:
        raise KernelError(
            "reading the table: not permitted", "run as root, or with CAP_NET_ADMIN", errno=errno.EPERM
        ) from error
    except OSError as error:
        raise translate(error.errno or 0, "reading the table") from error
    found = (attributes(body, len(_ALL_OF_INET)) for body in bodies)
    return [one for one in found if _text(one, table) == TABLE]


def _shape(found: Attributes) -> SetShape | None:
    """What must be equal for a set to be kept; None for one that cannot be any of ours."""
    size = _number(attributes(found.get(_SET_DESC, b"")), _DESC_SIZE)
    kind, flags = _number(found, _SET_KEY_TYPE), _number(found, _SET_FLAGS)
    if kind in _FLOWS and flags == _FLAG_TIMEOUT | _FLAG_DYNAMIC:
        return SetShape(_FLOWS[kind], size, _SET_EXPR in found, _number(found, _SET_TIMEOUT) // 1000)
    family = _FAMILIES.get(kind)
    if family is None or flags != _FLAG_TIMEOUT:
        return None
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
