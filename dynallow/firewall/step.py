"""The one transaction that takes the table from what the kernel has to what is wanted.

Pure. `renew` replaces chains and rules and keeps the sets that stay, with all that is in them; `anew` throws
the table away and makes it again with its elements, for what cannot be mended or whose owner must change.
Invariants 8 and 9: either is one transaction, so that there is no moment with fewer restrictions than before
or after it; names nothing but our own table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntFlag

from dynallow.firewall import encode
from dynallow.firewall import expressions as ex
from dynallow.firewall import ruleset as rs
from dynallow.firewall import transaction as tr
from dynallow.firewall.elements import element, lasting
from dynallow.firewall.readback import Member
from dynallow.firewall.transaction import Transaction

CARRIED_ON = "carried on"
"""Comment of a flow's element that was made with the table anew: its counter goes on from an earlier one."""

_MOST = 128
"""Elements in a message: a nested attribute's length is 16 bits, and one takes at most 400 bytes."""


class Flags(IntFlag):
    """NFTA_TABLE_FLAGS. OWNER never goes without PERSIST: such a table ends with its owner."""

    NONE = 0
    DORMANT = 1
    OWNER = 2
    PERSIST = 4
    OWNED = 6


@dataclass(frozen=True, slots=True)
class SetShape:
    """What two sets must have in common for one to stand for the other."""

    family: rs.Family
    size: int
    counter: bool
    lasts_s: int = 0
    """Of a flow set; 0 of one of addresses."""


Declared = rs.AddressSet | rs.FlowSet


@dataclass(frozen=True, slots=True)
class PresentSet:
    """A set that the kernel has now; without a shape it is none that dynallow makes."""

    name: str
    shape: SetShape | None


@dataclass(frozen=True, slots=True)
class PresentChain:
    """A chain that the kernel has now; `hook` is (type, hook number, priority) of a base chain."""

    name: str
    hook: tuple[str, int, int] | None


@dataclass(frozen=True, slots=True)
class Present:
    """What the kernel has of the table now. `flags`: None without a table; `owner`: a netlink port."""

    sets: tuple[PresentSet, ...] = ()
    chains: tuple[PresentChain, ...] = ()
    flags: Flags | None = None
    owner: int = 0


Carried = Mapping[str, Sequence[Member]]
"""By set: the elements that must live on in it although it is made anew."""


def renew(table: rs.Ruleset, present: Present, carried: Carried, flags: Flags) -> Transaction:
    """Replace chains and rules, keep the sets that stay.

    Sets of rules that went are deleted; a set whose size changed is made anew with its elements.
    """
    shapes = {declared.name: shape_of(declared) for declared in _all_sets(table)}
    hooks = {
        chain.name: None if chain.hook is None else encode.hook_numbers(chain.hook) for chain in table.chains
    }
    step = Transaction()
    _table(step, flags)
    for old in present.chains:
        step.delete(tr.DELETE_RULE, f"the rules of chain {old.name}", ex.text(2, old.name))
    # A chain that sits where ours does stays, and with it its place among the packets.
    stay = {old.name for old in present.chains if old.name in hooks and hooks[old.name] == old.hook}
    for old in present.chains:
        if old.name not in stay:
            step.delete(tr.DELETE_CHAIN, f"chain {old.name}", ex.text(3, old.name))
    for other in present.sets:
        if other.name not in shapes or shapes[other.name] != other.shape:
            step.delete(tr.DELETE_SET, f"set {other.name}", ex.text(2, other.name))
    encode.declare(step, table)
    _carry(step, table, carried)
    return step


def anew(
    table: rs.Ruleset, present: Present, carried: Carried, flags: Flags, denied: tuple[int, int]
) -> Transaction:
    """Throw the whole table away and make it again, with its elements and what it has counted.

    No packet notices (measured on 6.18): the old chain decides until the new one does.
    """
    step = Transaction()
    if present.flags is not None:
        step.delete(tr.DELETE_TABLE, "the old table")
    _table(step, flags)
    encode.declare(step, table, denied)
    _carry(step, table, carried)
    return step


def kept(table: rs.Ruleset, present: Present) -> list[Declared]:
    """The sets whose elements can go over into the table wanted."""
    shapes = {old.name: old.shape for old in present.sets}
    return [
        declared
        for declared in _all_sets(table)
        if (old := shapes.get(declared.name)) is not None
        and old.family == declared.family
        and bool(old.lasts_s) == isinstance(declared, rs.FlowSet)
    ]


def remade(table: rs.Ruleset, present: Present) -> list[Declared]:
    """Those of the kept sets that must be made anew, because their size or make differs."""
    shapes = {old.name: old.shape for old in present.sets}
    return [declared for declared in kept(table, present) if shapes[declared.name] != shape_of(declared)]


def shape_of(declared: Declared) -> SetShape:
    """Of a set that is wanted."""
    if isinstance(declared, rs.FlowSet):
        return SetShape(declared.family, declared.size, False, declared.lasts_s)
    return SetShape(declared.family, declared.size or 0, declared.counter)


def _all_sets(table: rs.Ruleset) -> tuple[Declared, ...]:
    return (*table.flow_sets, *table.sets)


def _table(step: Transaction, flags: Flags) -> None:
    step.add(tr.NEW_TABLE, "the table", ex.number(2, flags))


def _carry(step: Transaction, table: rs.Ruleset, carried: Carried) -> None:
    counters = {declared.name: declared.counter for declared in table.sets}
    counters |= {flows.name: True for flows in table.flow_sets}
    for name, members in carried.items():
        if name in counters:
            packed = list(_elements(members, counters[name]))
            for start in range(0, len(packed), _MOST):
                listed = ex.nested(3, *packed[start : start + _MOST])
                step.add(tr.NEW_ELEMENTS, f"elements of set {name}", ex.text(2, name), listed)


def _elements(members: Iterable[Member], counter: bool) -> Iterable[bytes]:
    for address, expires_ms, comment, packets, octets in members:
        shared = lasting(max(expires_ms, 1), _quotable(comment))
        if counter:
            shared += ex.counted(packets, octets)
        yield element(address, shared)


def _quotable(comment: str) -> bytes:
    """The comment, if nft can list it; somebody's hand may have written what ends its quotes."""
    if not comment.isascii() or not comment.isprintable() or '"' in comment or "\\" in comment:
        return b"..."
    return comment.encode()
