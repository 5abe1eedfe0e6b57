"""What a validator needs beside an answer: signatures and proofs of absence (RFC 4034, 4035, 5155).

Knows which RRSIG, NSEC, NSEC3 and DNAME records belong to records that are told; must
not know keys, and validates nothing. Invariants: a signature is passed on only with the
whole RRset that it was made for, as the upstream gave it: where a record was left out or
changed it would only prove a lie; nothing here grants an address; the records are
bounded, else there are none.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from itertools import islice
from typing import Final, NamedTuple

from dynallow.wire import numbers as n
from dynallow.wire.chain import LINKS_MAX
from dynallow.wire.names import Name, is_at_or_below
from dynallow.wire.response import Record, Response

PROOFS_MAX: Final = 64
"""The most that is passed on in one section; a chain of 11 links, each signed twice, has 24 signatures."""
# Records of an answer section: more than a name has addresses by default, and as many proofs. Looking
# through them takes less than a millisecond, whatever they are.
_LOOKED_AT_MAX: Final = 320
NO_TTL: Final = 1 << 32
_SIGNER: Final = 18  # where the signer's name begins in a signature (RFC 4034 section 3.1)
_LABELS: Final = 3
_ABSENCE: Final = (n.NSEC, n.NSEC3)

_Key = tuple[Name, int]
_RRsets = dict[_Key, set[bytes]]


class Proof(NamedTuple):
    """For clients that set DO, but for `secure`, which those want as well who set AD."""

    dnames: tuple[Record, ...] = ()
    """Of the answer section: what its CNAMEs stand for, which must come before them."""
    records: tuple[Record, ...] = ()
    """Of the answer section: the signatures of its RRsets and of these."""
    authority: tuple[Record, ...] = ()
    """NSEC and NSEC3 with their signatures, and those of the SOA."""
    ttl: int = NO_TTL
    """The smallest TTL of all these."""
    secure: bool = False
    """The upstream vouches for the answer (AD), and it is told unaltered."""


def prove(
    response: Response, name: Name, qtype: int, records: Sequence[Record], authority: Sequence[Record]
) -> Proof:
    """What belongs to `records` and `authority`, which are told of `response` to (`name`, `qtype`)."""
    if len(response.answer) > _LOOKED_AT_MAX or len(response.authority) > PROOFS_MAX:
        return Proof()
    told = _rrsets(records)
    end = name
    for _owner, rtype, _ttl, rdata in records:
        if rtype == n.CNAME != qtype:
            end = rdata
    told.setdefault((end, qtype), set())  # what is left out altogether is altered too
    given = _rrsets(response.answer, told)
    unaltered = all(given.get(key, set()) == rdatas for key, rdatas in told.items())
    whole = {key for key, rdatas in told.items() if rdatas and given.get(key) == rdatas}
    dnames = _dnames(response.answer, records)
    whole.update((owner, n.DNAME) for owner, *_ in dnames)
    signatures = _signatures(response.answer, whole)
    denied = _denials(response.authority, authority)
    if len(dnames) + len(signatures) > PROOFS_MAX or len(denied) > PROOFS_MAX:
        return Proof()
    ttl = min([ttl for _owner, _rtype, ttl, _rdata in (*dnames, *signatures, *denied)], default=NO_TTL)
    is_told = bool(authority) or bool(told[end, qtype])
    return Proof(dnames, signatures, denied, ttl, bool(response.flags & n.AD) and unaltered and is_told)


def unsigned(proof: Proof, rtype: int) -> Proof:
    """The proof of an answer whose records of this type were changed since."""
    kept = tuple(record for record in proof.records if _covered(record[3]) != rtype)
    return proof._replace(records=kept, secure=False)


def _rrsets(records: Iterable[Record], wanted: Container[_Key] | None = None) -> _RRsets:
    found: _RRsets = {}
    for owner, rtype, _ttl, rdata in records:
        key = (owner, rtype)
        if wanted is None or key in wanted:
            found.setdefault(key, set()).add(rdata)
    return found


def _denials(given: Sequence[Record], told: Sequence[Record]) -> tuple[Record, ...]:
    """Of the authority section: what proves that something is absent, where it is signed."""
    rrsets = _rrsets(given)
    whole = {key for key, rdatas in _rrsets(told).items() if rrsets.get(key) == rdatas}
    absent = _unique(record for record in given if record[1] in _ABSENCE)
    keys = {record[:2] for record in absent}
    signatures = _signatures(given, whole | keys)
    proven = {(owner, _covered(rdata)) for owner, _rtype, _ttl, rdata in signatures}
    return (*(record for record in absent if record[:2] in proven), *signatures)


def _signatures(given: Iterable[Record], whole: set[_Key]) -> tuple[Record, ...]:
    """The signatures of these RRsets that can be theirs (RFC 4035 section 5.3.1)."""
    theirs = (
        record for record in given if record[1] == n.RRSIG and (record[0], _covered(record[3])) in whole
    )
    return _unique(
        (owner, rtype, ttl, rdata)
        for owner, rtype, ttl, rdata in islice(theirs, PROOFS_MAX + 1)
        if rdata[_LABELS] <= _count_labels(owner) and is_at_or_below(owner, _signer(rdata, len(owner)))
    )


def _dnames(given: Sequence[Record], told: Sequence[Record]) -> tuple[Record, ...]:
    """The DNAMEs that CNAMEs on the chain stand for (RFC 6672 section 5.3.1: those are what is signed)."""
    dnames = [record for record in given if record[1] == n.DNAME]
    if not dnames or len(dnames) > LINKS_MAX:
        return ()
    found: dict[Name, Record] = {}
    for owner, rtype, _ttl, target in told:
        if rtype != n.CNAME:
            continue
        for dname in dnames:
            if _stands_for(owner, target, dname):
                found[dname[0]] = dname
    rrsets = _rrsets(dnames)
    return tuple(dname for owner, dname in found.items() if len(rrsets[owner, n.DNAME]) == 1)


def _stands_for(owner: Name, target: Name, dname: Record) -> bool:
    """Whether the CNAME from `owner` to `target` is what the DNAME makes of it."""
    above, _rtype, _ttl, instead = dname
    prefix = owner[: -len(above)]
    return bool(prefix) and target == prefix + instead and is_at_or_below(owner, above)


def _unique(records: Iterable[Record]) -> tuple[Record, ...]:
    return tuple({(record[0], record[1], record[3]): record for record in records}.values())


def _covered(rdata: bytes) -> int:
    return rdata[0] << 8 | rdata[1]


def _signer(rdata: bytes, longest: int) -> bytes:
    """Whose key it is, lower-cased; no name when it is longer than that.

    `read_rdata` has seen that a whole plain name stands there, and something behind it.
    """
    pos = _SIGNER
    while (size := rdata[pos]) and pos - _SIGNER < longest:
        pos += size + 1
    return rdata[_SIGNER : pos + 1].lower()


def _count_labels(name: Name) -> int:
    count = pos = 0
    while size := name[pos]:
        pos += size + 1
        count += 1
    return count
