"""Ends the kernel's memory of flows to addresses that were revoked.

The revoked set already stops their packets; deleting the entries as well
means that a flow must be allowed anew if the address is granted again later.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Collection
from ipaddress import ip_address

log = logging.getLogger(__name__)


def filters() -> bool:
    """Whether this kernel deletes the flows to an address when asked to by one message (CTA_FILTER)."""
    return False


def cut(addresses: Collection[bytes]) -> int:
    """Delete every flow from here to these packed addresses; returns how many.

    Best effort, and must not run in the loop's thread. Without conntrack in
    the kernel there is no flow to cut.
    """
    count = 0
    for family, size in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
        wanted = {str(ip_address(address)) for address in addresses if len(address) == size}
        if wanted:
            count += _cut(family, wanted)
    return count


def _cut(family: socket.AddressFamily, wanted: Collection[str]) -> int:
    from pyroute2 import Conntrack
    from pyroute2.netlink.exceptions import NetlinkError

    count = 0
    try:
        with Conntrack(nfgen_family=family) as conntrack:
            for entry in list(conntrack.dump_entries()):
                if entry.tuple_orig.daddr not in wanted:
                    continue
                try:
                    conntrack.entry("del", tuple_orig=entry.tuple_orig)
                    count += 1
                except NetlinkError as error:  # it ended by itself meanwhile
                    log.debug("conntrack entry not deleted: %s", error)
    except (NetlinkError, OSError) as error:
        log.warning("conntrack cannot be read, flows are stopped by the revoked set alone: %s", error)
    return count
