"""What the kernel holds of the table right now, for people: `status` and `doctor`.

Read-only, and needs no agent. Raises KernelError where it may not look.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal

from dynallow.errors import TableMissingError
from dynallow.firewall import nft
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.present import read_present
from dynallow.firewall.ruleset import DENIED_COUNTER, OUTPUT, REVOKED, set_name


@dataclass(frozen=True, slots=True)
class SetMember:
    """One address that may be reached under a rule."""

    address: str
    name: str
    expires_in_s: float
    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class TableView:
    """The table as the kernel has it. `sets` is by rule, both families together."""

    present: bool
    mode: Literal["enforce", "observe", "unknown"] = "unknown"
    sets: dict[str, list[SetMember]] = field(default_factory=dict)
    denied_packets: int = 0
    denied_bytes: int = 0


def read_members(elements: ElementSocket, rule: str) -> list[SetMember]:
    """The current members of a rule's two sets, longest lease first."""
    members = [
        SetMember(str(ip_address(m.address)), m.comment, m.expires_ms / 1000, m.packets, m.bytes)
        for family in (4, 6)
        for m in elements.dump(set_name(rule, family))
    ]
    return sorted(members, key=lambda member: -member.expires_in_s)


def read_table() -> TableView:
    """All of it: mode, members, denied counter."""
    chain = nft.list_json("chain", OUTPUT)
    if chain is None:
        return TableView(present=False)
    policy = next((item["chain"].get("policy") for item in chain if "chain" in item), None)
    mode: Literal["enforce", "observe", "unknown"] = (
        "enforce" if policy == "drop" else "observe" if policy == "accept" else "unknown"
    )
    packets, octets = read_denied()
    elements = ElementSocket()
    try:
        sets = {rule: read_members(elements, rule) for rule in _rules()}
    except TableMissingError:
        return TableView(present=False)
    finally:
        elements.close()
    return TableView(True, mode, sets, packets, octets)


def read_denied() -> tuple[int, int]:
    """Packets and bytes that the denied chain has counted."""
    for item in nft.list_json("counter", DENIED_COUNTER) or ():
        if "counter" in item:
            return item["counter"]["packets"], item["counter"]["bytes"]
    return 0, 0


def _rules() -> list[str]:
    names = dict.fromkeys(present.name[:-3] for present in read_present().sets)
    return [name for name in names if name != REVOKED]
