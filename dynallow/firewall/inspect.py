"""What the kernel holds of the table right now, for people: `status` and `doctor`.

Read-only, and needs no agent. Raises KernelError where it may not look.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dynallow.errors import TableMissingError
from dynallow.firewall.members import SetMember, read_members
from dynallow.firewall.present import read_denied, read_policy, read_present
from dynallow.firewall.ruleset import DENIED_FLOWS, OUTPUT, REVOKED, USED_FLOWS


@dataclass(frozen=True, slots=True)
class TableView:
    """The table as the kernel has it. `sets` is by rule, both families together."""

    present: bool
    mode: Literal["enforce", "observe", "unknown"] = "unknown"
    sets: dict[str, list[SetMember]] = field(default_factory=dict)
    denied_packets: int = 0
    denied_bytes: int = 0


def read_table() -> TableView:
    """All of it: mode, members, denied counter."""
    policy = read_policy(OUTPUT)
    if policy is None:
        return TableView(present=False)
    mode: Literal["enforce", "observe", "unknown"] = (
        "enforce" if policy == "drop" else "observe" if policy == "accept" else "unknown"
    )
    packets, octets = read_denied()
    try:
        sets = {rule: list(read_members(rule)) for rule in _rules()}
    except TableMissingError:
        return TableView(present=False)
    return TableView(True, mode, sets, packets, octets)


def _rules() -> list[str]:
    names = dict.fromkeys(present.name[:-3] for present in read_present().sets)
    return [name for name in names if name not in (REVOKED, USED_FLOWS, DENIED_FLOWS)]
