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
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from dynallow.errors import KernelError, UnsettledError
from dynallow.firewall import step
from dynallow.firewall.build import REVOKED_S
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.present import read_counts, read_denied, read_present
from dynallow.firewall.readback import Member
from dynallow.firewall.ruleset import REVOKED, FlowSet, Ruleset, family_of, set_name, uncounted
from dynallow.firewall.step import CARRIED_ON, Carried, Declared, Flags, Present
from dynallow.firewall.transaction import Transaction

log = logging.getLogger(__name__)

# No such flags or sets in this kernel; or all that the table holds is more than may be sent at once.
_NOT_TAKEN = (errno.EOPNOTSUPP, errno.EINVAL, errno.EMSGSIZE)


class Loaded(NamedTuple):
    """How it went."""

    dropped: list[tuple[str, bytes]]
    """What could not be kept, (rule, address), because a set has become smaller than what it held."""
    owned: bool
    """Nobody else can change the table while the socket is open."""
    table: Ruleset
    """What was loaded: all that was wanted, or that without counting by flows."""


def load(
    table: Ruleset, elements: ElementSocket, wanted: Flags = Flags.NONE, judged: Iterable[bytes] = ()
) -> Loaded:
    """Replace chains and rules, keep the sets of the rules that stay.

    In the same step flows to `judged` count as established no longer: these addresses lose something by it.
    `wanted` says whose the table shall be: OWNED, this socket's alone, if the kernel can and else as with
    NONE; PERSIST, to be taken over by who comes; NONE, as it is. A kernel that does not take the sets that
    count gets the table without them. Raises KernelError; nothing has changed then (UnsettledError: that is
    not known).
    """
    present = read_present()
    refusals: list[KernelError] = []
    ours = present.owner == elements.port  # then it stays so
    for less, flags in _tries(table, (wanted,) if ours or not wanted else (wanted, Flags.NONE)):
        try:
            dropped = _load(less, present, elements, flags, tuple(dict.fromkeys(judged)))
        except KernelError as error:
            refusals.append(error)
            if error.errno not in _NOT_TAKEN:
                raise
        else:
            if flags != wanted:
                log.warning("the table cannot be owned, others may change it: %s", refusals[0].message)
            if less is not table:
                log.warning("the kernel cannot count flows, denials have no details: %s", refusals[0].message)
            return Loaded(dropped, Flags.OWNER in flags, less)
    raise refusals[-1]


def _tries(table: Ruleset, flags: Sequence[Flags]) -> Iterator[tuple[Ruleset, Flags]]:
    """What is tried in turn: to count matters more than to own, which can be made up for by healing."""
    yield from ((table, each) for each in flags)
    if table.flow_sets:
        less = uncounted(table)
        yield from ((less, each) for each in flags)


def _load(
    table: Ruleset, present: Present, elements: ElementSocket, flags: Flags, judged: Sequence[bytes]
) -> list[tuple[str, bytes]]:
    there = present.flags
    if not flags and there is not None:
        flags = there & Flags.PERSIST  # it was somebody's, and can be nothing else
    refusal: KernelError | None = None
    # A plain table cannot be given an owner; nor be made to outlive one.
    if there is None or there & Flags.PERSIST == flags & Flags.PERSIST:
        carried, dropped = _carry_all(step.remade(table, present), elements)
        try:
            _apply(elements, lambda more: step.renew(table, present, more, flags), carried, judged)
            return dropped
        except UnsettledError as error:
            refusal, present = error, read_present()
        except KernelError as error:
            refusal = error
    # Some leftovers of others do not let go one by one either: a dormant table, a map that points at a chain.
    try:
        carried, dropped = _carry_all(step.kept(table, present), elements)
        denied = read_denied()
        _apply(elements, lambda more: step.anew(table, present, more, flags, denied), carried, judged)
    except UnsettledError:
        raise
    except KernelError as error:
        raise refusal or error from None
    return dropped


def _apply(
    elements: ElementSocket,
    make: Callable[[Carried], Transaction],
    carried: dict[str, list[Member]],
    judged: Sequence[bytes],
) -> None:
    """Have it done, with the blocks if that is not too much at once: whoever loads revokes after it."""
    if judged:
        more = {name: list(members) for name, members in carried.items()}
        for address in judged:
            block = Member(address, REVOKED_S * 1000, "", 0, 0)
            more.setdefault(set_name(REVOKED, family_of(address)), []).append(block)
        try:
            elements.apply(make(more))
        except KernelError as error:
            if error.errno != errno.EMSGSIZE:
                raise
        else:
            return
    elements.apply(make(carried))


def _carry_all(
    sets: Iterable[Declared], elements: ElementSocket
) -> tuple[dict[str, list[Member]], list[tuple[str, bytes]]]:
    carried: dict[str, list[Member]] = {}
    dropped: list[tuple[str, bytes]] = []
    counts = read_counts()
    for declared in sets:
        members = elements.dump(declared.name, counts.get(declared.name))
        carried[declared.name], lost = _carry(declared, members)
        if isinstance(declared, FlowSet):
            carried[declared.name] = [one._replace(comment=CARRIED_ON) for one in carried[declared.name]]
            continue
        dropped += [(declared.name[:-3], address) for address in lost]
    return carried, dropped


def _carry(declared: Declared, members: Iterable[Member]) -> tuple[list[Member], list[bytes]]:
    """What goes over into the set that is made anew, longest life first, and what has no room there.

    An element without an end is nobody's lease, and no packet's, and stays behind.
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
        if found.name not in wanted and found.shape is not None and not found.shape.lasts_s
        for member in elements.dump(found.name)
    ]
