"""Brings the kernel's table to a ruleset, in one transaction, keeping the leases.

Reads what is there, makes the step from there to here, has the kernel run it. Invariants 8 and 9: only
`table inet dynallow`, and no moment with fewer restrictions than before or after.

Whose table it is can be settled only when it is made or when its owner is gone (measured on 6.18): one that
was made with PERSIST and has no owner is taken over by asking for it with OWNER and PERSIST; a plain one,
of `nft` at boot or of an older agent, is made anew, in the same transaction, with all that it holds.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable
from typing import NamedTuple

from dynallow.errors import KernelError
from dynallow.firewall import step
from dynallow.firewall.elements import Member
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.present import read_counts, read_denied, read_present
from dynallow.firewall.ruleset import AddressSet, Ruleset
from dynallow.firewall.step import Flags, Present

log = logging.getLogger(__name__)

# No such flags in this kernel; or all that the table holds is more than may be sent at once.
_NOT_OURS_ALONE = (errno.EOPNOTSUPP, errno.EINVAL, errno.EMSGSIZE)


class Loaded(NamedTuple):
    """How it went."""

    dropped: list[tuple[str, bytes]]
    """What could not be kept, (rule, address), because a set has become smaller than what it held."""
    owned: bool
    """Nobody else can change the table while the socket is open."""


def load(table: Ruleset, elements: ElementSocket, wanted: Flags = Flags.NONE) -> Loaded:
    """Replace chains and rules, keep the sets of the rules that stay.

    `wanted` says whose the table shall be: OWNED, this socket's alone, if the kernel can and else as with
    NONE; PERSIST, to be taken over by who comes; NONE, as it is. Raises KernelError; nothing has changed.
    """
    present = read_present()
    refusal: KernelError | None = None
    ours = present.owner == elements.port  # then it stays so
    for flags in (wanted,) if ours or not wanted else (wanted, Flags.NONE):
        try:
            dropped = _load(table, present, elements, flags)
        except KernelError as error:
            refusal = error
            if error.errno not in _NOT_OURS_ALONE:
                raise
            if flags:
                log.warning("the table cannot be owned, others may change it: %s", error.message)
        else:
            return Loaded(dropped, Flags.OWNER in flags)
    raise refusal or AssertionError("one round at least")


def _load(table: Ruleset, present: Present, elements: ElementSocket, flags: Flags) -> list[tuple[str, bytes]]:
    there = present.flags
    if not flags and there is not None:
        flags = there & Flags.PERSIST  # it was somebody's, and can be nothing else
    refusal: KernelError | None = None
    # A plain table cannot be given an owner; nor be made to outlive one.
    if there is None or there & Flags.PERSIST == flags & Flags.PERSIST:
        carried, dropped = _carry_all(step.remade(table, present), elements)
        try:
            elements.apply(step.renew(table, present, carried, flags))
            return dropped
        except KernelError as error:
            refusal = error
    # Some leftovers of others do not let go one by one either: a dormant table, a map that points at a chain.
    carried, dropped = _carry_all(step.kept(table, present), elements)
    try:
        elements.apply(step.anew(table, present, carried, flags, read_denied()))
    except KernelError as error:
        raise refusal or error from None
    return dropped


def _carry_all(
    sets: Iterable[AddressSet], elements: ElementSocket
) -> tuple[dict[str, list[Member]], list[tuple[str, bytes]]]:
    carried: dict[str, list[Member]] = {}
    dropped: list[tuple[str, bytes]] = []
    counts = read_counts()
    for declared in sets:
        members = elements.dump(declared.name, counts.get(declared.name))
        carried[declared.name], lost = _carry(declared, members)
        dropped += [(declared.name[:-3], address) for address in lost]
    return carried, dropped


def _carry(declared: AddressSet, members: Iterable[Member]) -> tuple[list[Member], list[bytes]]:
    """What goes over into the set that is made anew, longest life first, and what has no room there.

    An element without an end is nobody's lease and stays behind.
    """
    ours = sorted((m for m in members if m.expires_ms), key=lambda member: -member.expires_ms)
    room = declared.size or len(ours)
    return ours[:room], [member.address for member in ours[room:]]


def left_over(table: Ruleset, elements: ElementSocket) -> list[bytes]:
    """The addresses in rules' sets that the ruleset does not have any more."""
    wanted = {declared.name for declared in table.sets}
    return [
        member.address
        for found in read_present().sets
        if found.name not in wanted and found.shape is not None
        for member in elements.dump(found.name)
    ]
