"""Brings the kernel's table to a ruleset, in one transaction, keeping the leases.

Reads what is there (pyroute2: off the hot path), renders the step from there
to here, hands it to nft. Invariants 8 and 9: only `table inet dynallow`, and
no moment with fewer restrictions than before or after.
"""

from __future__ import annotations

from dynallow.firewall import nft
from dynallow.firewall.netlink import ElementSocket, translate
from dynallow.firewall.offloop import off_loop
from dynallow.firewall.ruleset import TABLE, Ruleset
from dynallow.firewall.text import Carried, Present, PresentSet, remade, render_load

_NFPROTO_INET = 1
_NFT_SET_ANONYMOUS = "NFT_SET_ANONYMOUS"


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
                PresentSet(
                    found.get_attr("NFTA_SET_NAME"),
                    found.get_attr("NFTA_SET_KEY_LEN"),
                    _size(found.get_attr("NFTA_SET_DESC")),
                )
                for found in netlink.get_sets()
                if found.get_attr("NFTA_SET_TABLE") == TABLE
                and _NFT_SET_ANONYMOUS not in (found.get_attr("NFTA_SET_FLAGS") or ())
            ]
            chains = [
                found.get_attr("NFTA_CHAIN_NAME")
                for found in netlink.get_chains()
                if found.get_attr("NFTA_CHAIN_TABLE") == TABLE
            ]
    except NetlinkError as error:
        raise translate(error.code, "reading the table") from error
    except OSError as error:
        raise translate(error.errno or 0, "reading the table") from error
    return Present(tuple(sets), tuple(chains))


def _size(description: object) -> int:
    for name, value in (description or {}).get("attrs", ()):  # type: ignore[attr-defined]
        if name == "NFTA_SET_DESC_SIZE":
            return int(value)
    return 0


def load(table: Ruleset) -> None:
    """Replace chains and rules, keep the sets of the rules that stay.

    Raises KernelError; then nothing has changed.
    """
    present = read_present()
    carried: list[Carried] = []
    again = remade(table, present)
    if again:
        elements = ElementSocket()
        try:
            for name in again:
                carried += [
                    Carried(name, member.address, member.expires_ms, member.comment)
                    for member in elements.dump(name)
                ]
        finally:
            elements.close()
    nft.load(render_load(table, present, carried))
