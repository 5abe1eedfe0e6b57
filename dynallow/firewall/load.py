"""Brings the kernel's table to a ruleset, in one transaction, keeping the leases.

Reads what is there (pyroute2: off the hot path), renders the step from there
to here, hands it to nft. Invariants 8 and 9: only `table inet dynallow`, and
no moment with fewer restrictions than before or after.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dynallow.errors import KernelError
from dynallow.firewall import nft
from dynallow.firewall.elements import Member
from dynallow.firewall.netlink import ElementSocket, translate
from dynallow.firewall.offloop import off_loop
from dynallow.firewall.ruleset import TABLE, AddressSet, Family, Ruleset
from dynallow.firewall.text import (
    Carried,
    Present,
    PresentChain,
    PresentSet,
    SetShape,
    kept,
    remade,
    render_anew,
    render_load,
)

_NFPROTO_INET = 1
_NFT_SET_ANONYMOUS = "NFT_SET_ANONYMOUS"
_OUR_FLAGS = {"NFT_SET_TIMEOUT"}
_FAMILIES: dict[int, Family] = {7: 4, 8: 6}  # nft's own numbers for ipv4_addr and ipv6_addr


def read_present() -> Present:
    """The sets and chains that the table has now; empty when there is no table."""
    return off_loop(_read_present)


def _read_present() -> Present:
    # Imported here: it takes a quarter of a second, and a `status` must not pay for it.
    from pyroute2.netlink.exceptions import NetlinkError
    from pyroute2.nftables.main import NFTables

    try:
        with NFTables(nfgen_family=_NFPROTO_INET) as netlink:
            sets = [
                PresentSet(found.get_attr("NFTA_SET_NAME"), _shape(found))
                for found in netlink.get_sets()
                if found.get_attr("NFTA_SET_TABLE") == TABLE
                and _NFT_SET_ANONYMOUS not in (found.get_attr("NFTA_SET_FLAGS") or ())
            ]
            chains = [
                PresentChain(found.get_attr("NFTA_CHAIN_NAME"), _hook(found))
                for found in netlink.get_chains()
                if found.get_attr("NFTA_CHAIN_TABLE") == TABLE
            ]
    except NetlinkError as error:
        raise translate(error.code, "reading the table") from error
    except OSError as error:
        raise translate(error.errno or 0, "reading the table") from error
    return Present(tuple(sets), tuple(chains))


def _shape(found: Any) -> SetShape | None:
    """What must be equal for a set to be kept; None for one that cannot be any of ours."""
    size = 0
    for name, value in (found.get_attr("NFTA_SET_DESC") or {}).get("attrs", ()):
        if name == "NFTA_SET_DESC_SIZE":
            size = int(value)
    family = _FAMILIES.get(found.get_attr("NFTA_SET_KEY_TYPE"))
    if family is None or set(found.get_attr("NFTA_SET_FLAGS") or ()) != _OUR_FLAGS:
        return None
    counter = found.get_attr("NFTA_SET_EXPR") is not None
    return SetShape(family, size, counter)


def _hook(found: Any) -> tuple[str, int, int] | None:
    """Type, hook number and priority of a base chain."""
    hook = found.get_attr("NFTA_CHAIN_HOOK")
    if hook is None:
        return None
    return (
        str(found.get_attr("NFTA_CHAIN_TYPE")),
        int(hook.get_attr("NFTA_HOOK_HOOKNUM")),
        int(hook.get_attr("NFTA_HOOK_PRIORITY")),
    )


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
