"""The members of a rule's sets as the kernel has them, a part at a time as they are read.

There are two ways. A dump tells of everything, but for each of its datagrams the
kernel walks the set anew from its start: 10,000 members take 0.03 s, 100,000
take 1.4 s. To look members up by their addresses takes 4 µs each, however many
there are, but tells only of those that are asked for. So a large set is looked
up where a ledger says what to ask for and the kernel says how many there are;
where there are more, the dump follows. Only as many strangers as leases have
lapsed in the last seconds can go untold, and the agent takes those away itself.

Keeps: a member is told once, and as the kernel tells it; nothing but its address
is held longer than its part (100,000 at once would be 60 MiB, and letting go of
them a stall).
Raises KernelError where it may not look.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from dynallow.firewall.netlink import dump_parts, open_socket, translate
from dynallow.firewall.present import read_counts
from dynallow.firewall.readback import DumpPart, Lookup, Member
from dynallow.firewall.ruleset import Family, set_name

if TYPE_CHECKING:
    from dynallow.firewall.burst import Burst
    from dynallow.lease.ledger import Ledger

LARGE = 16_384
"""Members from which on looking up is cheaper than a dump."""
FAMILIES: tuple[tuple[Family, socket.AddressFamily, int], ...] = (
    (4, socket.AF_INET, 4),
    (6, socket.AF_INET6, 16),
)
_TRIES = 5
_LONG = 4096
# A quarter of a millisecond of a thread's work: the loop's thread waits no longer for its turn.
_AT_ONCE = 128
# The kernel collects what has lapsed every second, and counts it until then.
_COLLECTED_WITHIN_S = 3.0
_ROUNDING_S = 0.1


class SetMember(NamedTuple):
    """One address that may be reached under a rule."""

    address: str
    name: str
    expires_in_s: float
    packets: int
    bytes: int


class Known(NamedTuple):
    """What is known before the sets are read: which of them are large, and what to ask for."""

    ledger: Ledger
    counts: Mapping[str, int | None]
    large: int = LARGE


def read_members(rule: str) -> Iterator[SetMember]:
    """The current members of a rule's two sets, each as it is read, in the kernel's order."""
    for family, parts in read_parts(rule):
        for part in parts:
            for address, expires_ms, name, packets, octets in part:
                text = socket.inet_ntop(family, address)
                yield SetMember(text, name, expires_ms / 1000, packets, octets)


def read_parts(
    rule: str, known: Known | None = None
) -> Iterator[tuple[socket.AddressFamily, Iterator[list[Member]]]]:
    """The same by family, as it comes from the kernel."""
    for version, family, size in FAMILIES:
        yield family, _set_parts(rule, set_name(rule, version), size, known)


def _set_parts(rule: str, name: str, size: int, known: Known | None) -> Iterator[list[Member]]:
    seen: set[bytes] = set()
    try:
        count = known.counts.get(name) if known is not None else None
        if known is not None and count is not None and count >= known.large:
            # Counted anew, just before the ledger is read: every lease since a count hides a stranger.
            count = read_counts().get(name)
            members = yield from _looked_up(rule, Lookup(name, size), size, known.ledger, seen)
            if count is not None and count <= members:
                return
        yield from _dumped(name, seen)
    except OSError as error:
        raise translate(error.errno or 0, f"reading set {name}") from error


# ------------------------------------------------------------------ by their addresses


def _looked_up(
    rule: str, lookup: Lookup, size: int, ledger: Ledger, seen: set[bytes]
) -> Generator[list[Member], None, int]:
    """The ledger's leases as the kernel has them; returns how many members the set may be said to have.

    Those that were found, and those that may have lapsed without being
    collected. 0: the kernel does not have what the ledger says it has.
    """
    from dynallow.firewall.burst import Burst  # not for `status` without an agent: ctypes takes 5 ms to load

    uncollected = 0
    burst = Burst(_AT_ONCE + 1, Lookup.SLOT)
    with open_socket() as sock:
        addresses, held = ledger.addresses(rule), ledger.held(rule)
        for start in range(0, len(addresses), _AT_ONCE):
            now = time.monotonic()
            asked = []
            for address in addresses[start : start + _AT_ONCE]:
                if len(address) != size or (lease := held.get(address)) is None:
                    continue
                if lease.deadline > now:
                    asked.append(address)
                else:
                    uncollected += lease.deadline > now - _COLLECTED_WITHIN_S
            while asked:
                members, number = _ask(sock, lookup, burst, asked)
                seen.update([member.address for member in members])
                yield members
                if number:
                    absent = asked[len(members)]
                    deadline = ledger.deadline(rule, absent)
                    if number != errno.ENOENT or deadline > time.monotonic() + _ROUNDING_S:
                        return 0
                    uncollected += 1
                asked = asked[len(members) + 1 :]
    return len(seen) + uncollected


def _ask(sock: socket.socket, lookup: Lookup, burst: Burst, asked: list[bytes]) -> tuple[list[Member], int]:
    """The members up to the first that is not there, and why that one is not; 0 where all are.

    The kernel answers inside `send`, in the order of the request.
    """
    sock.send(lookup.request(asked, 1))
    members, number = lookup.members(burst.receive(sock))
    return members, number or (0 if len(members) == len(asked) else errno.ENOBUFS)


# ------------------------------------------------------------------ by a dump


def _dumped(name: str, seen: set[bytes]) -> Iterator[list[Member]]:
    """Each element that was not seen.

    What leaves the set while it is dumped, by lapsing or by hand, makes the kernel pass over as many
    others, and it does not say so (NLM_F_DUMP_INTR is not for elements). So a dump of more than one
    datagram is repeated until it brings nothing new; a long one once, which is near enough: the first
    may have stood still for a slow reader, the second has little to tell.
    """
    for again in range(_TRIES):
        parts = new = 0
        for part in _parts(name):
            fresh = [member for member in part.members if member.address not in seen]
            seen.update([member.address for member in fresh])
            parts += bool(part.members)
            new += len(fresh)
            yield fresh
        if parts < 2 or not new or (again and len(seen) > _LONG):
            return


def _parts(name: str) -> Iterator[DumpPart]:
    with open_socket() as sock:
        yield from dump_parts(sock, name, 1)
