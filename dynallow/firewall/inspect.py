"""What the kernel holds of the table right now, for people: `status` and `doctor`.

Read-only, and needs no agent. Raises KernelError where it may not look.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from dynallow.errors import TableMissingError
from dynallow.firewall.elements import DumpPart, Member, dump_request, parse_dump
from dynallow.firewall.netlink import open_socket, translate
from dynallow.firewall.present import read_denied, read_policy, read_present
from dynallow.firewall.ruleset import OUTPUT, REVOKED, set_name

_RECEIVE = 65536
_TRIES = 5
_LONG = 4096


class SetMember(NamedTuple):
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


def read_members(rule: str) -> Iterator[SetMember]:
    """The current members of a rule's two sets, each as it is read, in the kernel's order.

    Nothing is held but the part at hand and the addresses seen: 100,000 members
    at once would be 60 MiB, and letting go of them a stall.
    """
    for family, version in ((socket.AF_INET, 4), (socket.AF_INET6, 6)):
        for member in _members(set_name(rule, 4 if version == 4 else 6)):
            address = socket.inet_ntop(family, member.address)
            expires_s = member.expires_ms / 1000
            yield SetMember(address, member.comment, expires_s, member.packets, member.bytes)


def _members(name: str) -> Iterator[Member]:
    """Each element once. A dump that a writer interrupts may miss one or have one twice.

    So it is repeated; but on a busy host a long one is always interrupted, and near enough.
    """
    seen: set[bytes] = set()
    for _ in range(_TRIES):
        interrupted = False
        for part in _parts(name):
            interrupted = interrupted or part.interrupted
            for member in part.members:
                if member.address not in seen:
                    seen.add(member.address)
                    yield member
        if not interrupted or len(seen) > _LONG:
            return


def _parts(name: str) -> Iterator[DumpPart]:
    try:
        with open_socket() as sock:
            sock.send(dump_request(name, 1))
            while True:
                part = parse_dump(sock.recv(_RECEIVE))
                if part.errno:
                    raise translate(part.errno, f"reading set {name}")
                yield part
                if part.done:
                    return
    except OSError as error:
        raise translate(error.errno or 0, f"reading set {name}") from error


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
    return [name for name in names if name != REVOKED]
