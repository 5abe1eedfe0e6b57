"""From a validated response to what was asked: the CNAME chain and its end.

Knows the answer section and the SOA of a denial; must not know policy,
addresses' worth or time. Invariant 5: a record is in a `Chain` only when the
answer section leads to it from the question, link by link. The order of the
records does not matter (RFC 1034 allows any); records off the chain are
ignored. A DNAME comes with the CNAMEs that it stands for (RFC 6672 section
3.1): those are followed, the DNAME itself is off the chain and dropped.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from operator import itemgetter
from typing import Final, NamedTuple

from dynallow.errors import WireError
from dynallow.wire.names import Name, is_at_or_below
from dynallow.wire.numbers import CNAME, SOA
from dynallow.wire.response import Record, Response

# DESIGN section 10; more than real names need, and what resolvers follow is about as much.
LINKS_MAX: Final = 11
RECORDS_MAX: Final = 512
"""The most records at the chain's end that are passed on: what comes after has a bounded amount to do."""
_NO_TTL: Final = 1 << 32
_ttl: Final = itemgetter(2)
_rdata: Final = itemgetter(3)
_minimum: Final = struct.Struct(">I").unpack_from
_new: Final = tuple.__new__  # what Chain(...) calls in the end, at half the price


class Chain(NamedTuple):
    """`links` are the CNAMEs in order, `final` the records of the asked type at `end`.

    `ttl` is the smallest of all of them, 0 when there are none. At most
    `RECORDS_MAX` records make up `final`.
    """

    links: tuple[Record, ...]
    final: tuple[Record, ...]
    end: Name
    ttl: int


def walk(response: Response, name: Name, qtype: int) -> Chain:
    """Follow the answer from `name` to its records of type `qtype`.

    Raises WireError for a loop, more than 11 links, two different CNAMEs at one
    owner, or a CNAME beside the data that was asked for (RFC 2181 section 10.1):
    a server that sends these cannot be asked which one it meant.
    """
    answer = response.answer
    if len(answer) == 1 and answer[0][0] == name and answer[0][1] == qtype:
        return _new(Chain, ((), answer, name, answer[0][2]))
    return _in_order(answer, name, qtype) or _in_any_order(answer, name, qtype)


def _in_order(answer: tuple[Record, ...], name: Name, qtype: int) -> Chain | None:
    """The chain of an answer that is nothing but it, link by link, then its end: as nearly all are.

    None when there is anything else: what that means is for the thorough walk to say.
    """
    path, least = [name], _NO_TTL
    for owner, rtype, ttl, target in answer:
        if rtype != CNAME or owner != path[-1]:
            break
        path.append(target)
        if ttl < least:
            least = ttl
    count = len(path) - 1
    final, end = answer[count:], path[-1]
    if qtype == CNAME or not final or count > LINKS_MAX or len(set(path)) <= count:
        return None
    for owner, rtype, _ttl, _address in final:
        if rtype != qtype or owner != end:
            return None
    final = _merge(final)
    ttl = final[0][2]
    return _new(Chain, (answer[:count], final, end, ttl if ttl < least else least))


def _in_any_order(answer: tuple[Record, ...], name: Name, qtype: int) -> Chain:
    aliases: dict[Name, Record] = {}
    torn: set[Name] = set()
    for record in answer:
        if record[1] == CNAME != qtype:
            owner, _rtype, ttl, target = record
            other = aliases.setdefault(owner, record)
            if other[3] != target:
                torn.add(owner)
            elif ttl < other[2]:  # the same one twice: a clumsy server, not a lie
                aliases[owner] = record
    links: list[Record] = []
    end, least = name, _NO_TTL
    while (link := aliases.get(end)) is not None:
        if end in torn:
            raise WireError("CNAME beside another CNAME")
        if len(links) == LINKS_MAX:  # a loop comes here too
            raise WireError(f"CNAME loop, or more than {LINKS_MAX} links")
        links.append(link)
        _owner, _rtype, ttl, end = link
        if ttl < least:
            least = ttl
    rrset = [record for record in answer if record[1] == qtype and record[0] == end]
    if links and len(links) + len(rrset) < len(answer):  # there is something else in it
        passed = {link[0] for link in links}
        if any([record[1] == qtype and record[0] in passed for record in answer]):
            raise WireError("CNAME beside the data asked for")
    if not rrset:
        return _new(Chain, (tuple(links), (), end, least if links else 0))
    final = _merge(rrset)
    if qtype == CNAME and len(final) > 1:
        raise WireError("two CNAMEs at one owner")
    ttl = final[0][2]
    return _new(Chain, (tuple(links), final, end, ttl if ttl < least else least))


def _merge(rrset: Sequence[Record]) -> tuple[Record, ...]:
    """The RRset without duplicates, each record with the smallest TTL (RFC 2181 section 5)."""
    if len(rrset) == 1:
        return (rrset[0],)
    if len(rrset) > RECORDS_MAX:
        rrset = sorted(rrset, key=_rdata)[:RECORDS_MAX]  # the same ones in whatever order they come
    ttls = set(map(_ttl, rrset))
    if len(ttls) == 1 and len(set(map(_rdata, rrset))) == len(rrset):
        return tuple(rrset)
    least = min(ttls)
    unique = {rdata: (owner, rtype, least, rdata) for owner, rtype, _, rdata in rrset}
    return tuple(unique.values())


def negative(response: Response, end: Name) -> tuple[Record | None, int]:
    """The SOA that proves a denial at `end` and how long it may be kept (RFC 2308 section 5).

    A SOA of a zone that does not hold `end` proves nothing and is not passed
    on. Without one the denial must not be cached: (None, 0).
    """
    for owner, rtype, ttl, rdata in response.authority:
        if rtype == SOA and is_at_or_below(end, owner):
            (minimum,) = _minimum(rdata, len(rdata) - 4)
            ttl = min(ttl, minimum)
            return (owner, SOA, ttl, rdata), ttl
    return None, 0
