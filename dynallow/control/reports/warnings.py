"""What an administrator should know about the state that the agent is in, in words."""

from __future__ import annotations

from collections.abc import Sequence

from dynallow.firewall.table import Table
from dynallow.settings import Settings


def warnings(
    settings: Settings, servers: bool, unserved: Sequence[str], not_kept: str | None, table: Table
) -> list[str]:
    """`servers`: whether there is an upstream; `unserved`: inherited sockets that no setting names;
    `not_kept`: why the ruleset could not be kept.
    """
    found = []
    if not servers:
        found.append("no upstream server: resolv.conf names none but dynallow; set resolver.upstreams")
    if not settings.rules:
        found.append("no rule is set, so no name is allowed")
    if unserved:
        found.append(
            f"nobody answers on {', '.join(unserved)}: the service manager opens it, and "
            "resolver.listen does not name it"
        )
    if not_kept:
        found.append(not_kept)
    if not table.features.counting:
        found.append("the kernel does not count flows: what was denied or used, and by whom, is not told")
    if table.last_tampering is not None:
        found.append(f"{table.last_tampering} changed the table; it was loaded again {table.heals} times")
    return found
