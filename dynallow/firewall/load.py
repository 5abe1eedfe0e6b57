"""Brings the kernel's table to a ruleset, in one transaction, keeping the leases.

Reads what is there, renders the step from there to here, hands it to nft.
Invariants 8 and 9: only `table inet dynallow`, and no moment with fewer
restrictions than before or after.
"""

from __future__ import annotations

from collections.abc import Iterable

from dynallow.errors import KernelError
from dynallow.firewall import nft
from dynallow.firewall.elements import Member
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.present import read_present
from dynallow.firewall.ruleset import AddressSet, Ruleset
from dynallow.firewall.text import Carried, kept, remade, render_anew, render_load


def load(table: Ruleset) -> list[tuple[str, bytes]]:
    """Replace chains and rules, keep the sets of the rules that stay.

    Returns what could not be kept, (rule, address), because a set has become
    smaller than what it held. Raises KernelError; then nothing has changed.
    """
    present = read_present()
    carried, dropped = _carry_all(remade(table, present))
    try:
        nft.load(render_load(table, present, carried))
    except KernelError as error:
        # Some leftovers of others do not let go one by one: a dormant table, a map that points
        # at a chain. The whole table anew, in one transaction still, with all that it held.
        carried, dropped = _carry_all(kept(table, present))
        try:
            nft.load(render_anew(table, carried))
        except KernelError:
            raise error from None
    return dropped


def _carry_all(sets: Iterable[AddressSet]) -> tuple[list[Carried], list[tuple[str, bytes]]]:
    carried: list[Carried] = []
    dropped: list[tuple[str, bytes]] = []
    elements = ElementSocket()
    try:
        for declared in sets:
            goes_over, lost = _carry(declared, elements.dump(declared.name))
            carried += goes_over
            dropped += [(declared.name[:-3], address) for address in lost]
    finally:
        elements.close()
    return carried, dropped


def _carry(declared: AddressSet, members: Iterable[Member]) -> tuple[list[Carried], list[bytes]]:
    """What goes over into the set that is made anew, longest life first, and what has no room there.

    An element without an end is nobody's lease and stays behind.
    """
    ours = sorted((m for m in members if m.expires_ms), key=lambda member: -member.expires_ms)
    room = declared.size or len(ours)
    kept = [Carried(declared.name, m.address, m.expires_ms, m.comment) for m in ours[:room]]
    return kept, [member.address for member in ours[room:]]


def left_over(table: Ruleset, elements: ElementSocket) -> list[bytes]:
    """The addresses in rules' sets that the ruleset does not have any more."""
    wanted = {declared.name for declared in table.sets}
    return [
        member.address
        for found in read_present().sets
        if found.name not in wanted and found.shape is not None
        for member in elements.dump(found.name)
    ]
