"""Two replies to one question, and in what they differ. Pure.

Knows DNS by dnspython alone. What is compared: rcode, the header's flags, the
question as it was sent, and the answer section as a set of records. TTLs are
judged apart: they need not be alike, but dynallow's must not be the longer one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata

from tests.netns.probes import Probe

_FLAGS = (
    dns.flags.QR | dns.flags.AA | dns.flags.TC | dns.flags.RD | dns.flags.RA | dns.flags.AD | dns.flags.CD
)
_Key = tuple[dns.name.Name, int]


class Explained(NamedTuple):
    """A difference that is meant: in these fields, for this reason. README has the same list."""

    fields: frozenset[str]
    reason: str


def _explained(fields: str, reason: str) -> Explained:
    return Explained(frozenset(fields.split(", ")), reason)


EXPLAINED: Mapping[str, Explained] = {
    "chain that its server leaves unfinished": _explained(
        "answer, ttl 0",
        "an upstream is a recursor: what it leaves unfinished is passed on unfinished, with TTL 0",
    ),
    "more addresses than a name may have": _explained(
        "answer", "`lease.max-addresses-per-name`: what is handed out is what is leased"
    ),
    "special-purpose address": _explained(
        "answer", "taken out unless a rule's `private` names its prefix (invariant 6)"
    ),
    "service with ECH": _explained("answer", "`ech` is left out of HTTPS records"),
    "DNAME": _explained("answer", "only the CNAME that the DNAME stands for is on the chain"),
    "type that no rule lists": _explained("answer", "an empty answer with EDE 17: the rule's `types`"),
    "ANY": _explained("rcode, answer", "REFUSED (RFC 8482 lets a server choose)"),
    "large, and 4,096 bytes offered": _explained(
        "flags, answer", "at most 1,232 bytes over UDP, whatever is offered: longer ones come in fragments"
    ),
    "no recursion asked for": _explained(
        "rcode, flags, answer", "RD is not needed: the policy decides who is told what, not the cache"
    ),
}


class Reply(NamedTuple):
    """What a client sees."""

    rcode: str
    flags: str
    question: bytes
    answer: frozenset[tuple[dns.name.Name, int, dns.rdata.Rdata]]
    ttls: Mapping[_Key, int]
    edns: bool


def read(data: bytes) -> Reply:
    """The reply by dnspython; raises when it is malformed."""
    message = dns.message.from_wire(data)
    end = 12
    while data[end]:
        end += 1 + data[end]
    return Reply(
        dns.rcode.to_text(message.rcode()),
        dns.flags.to_text(message.flags & _FLAGS),
        data[12 : end + 5],
        frozenset((rrset.name, int(rrset.rdtype), rdata) for rrset in message.answer for rdata in rrset),
        {(rrset.name, int(rrset.rdtype)): rrset.ttl for rrset in (*message.answer, *message.authority)},
        message.edns >= 0,
    )


def differences(ours: Reply, theirs: Reply) -> set[str]:
    """The fields in which they differ. What stands in a truncated reply is nobody's concern."""
    fields = ["rcode", "flags", "question", "edns"]
    if not ("TC" in ours.flags and "TC" in theirs.flags):
        fields.append("answer")
    return {field for field in fields if getattr(ours, field) != getattr(theirs, field)}


def unexplained(probe: Probe, found: set[str]) -> set[str]:
    """What of it nothing in `EXPLAINED` accounts for."""
    known = EXPLAINED.get(probe.kind)
    return found - known.fields if known else found
