"""From a validated response to the answer that may be given, and what it grants.

Pure: knows records, verdicts and address space; must not know sockets, clocks
(time is an argument) or nft. Invariants 5 and 6 meet here: only the chain from
the question counts, and no special-purpose address passes unless a rule names it.
"""

from __future__ import annotations

import math
from collections.abc import Container
from typing import NamedTuple

from dynallow.errors import WireError
from dynallow.lease.grant import Grant, Limits, told_ttl
from dynallow.policy.rules import Rule
from dynallow.policy.special import is_acceptable
from dynallow.policy.verdict import Outcome, Verdict
from dynallow.wire import chain, svcb
from dynallow.wire import numbers as n
from dynallow.wire.response import Record, Response

_ROOT = b"\0"
_ADDRESS_TYPES = (n.A, n.AAAA)
_HINT_TYPES = (n.HTTPS, n.SVCB)
GRANTING_TYPES = (*_ADDRESS_TYPES, *_HINT_TYPES)
"""The record types whose answers grant addresses."""
EDE_FILTERED = 17
_SPECIAL_PURPOSE = "its addresses are special-purpose, and no rule's `private` names their prefix"
_ELSEWHERE = "its records point to another name"
STALE_TTL_S = 30  # RFC 8767 section 5.2


class Answer(NamedTuple):
    """What a client may be told of one (name, type) until `ends`.

    Every TTL in it is the smallest on the chain: a client that keeps a CNAME
    longer than the address behind it gains nothing, and invariant 2 then
    holds for each record alike.
    """

    rcode: int
    records: tuple[Record, ...]
    authority: tuple[Record, ...]
    by_rule: tuple[tuple[Rule, tuple[bytes, ...]], ...]
    """The addresses that each rule is to grant, packed."""
    ttl_s: int
    ends: float
    """Monotonic second after which it must not be told any more."""
    data_ends: float
    """`ends` of the upstream's data; earlier than `ends` in a stale answer."""
    rules_end: float | None = None
    """Monotonic second at which the first of the rules expires."""
    ede: tuple[int, str] | None = None
    scrubbed: int = 0
    """How many special-purpose addresses were left out."""

    def left(self, now: float) -> int:
        """The TTL to tell at `now`: whole seconds, rounded down."""
        return max(int(self.ends - now), 0)


class Scope(NamedTuple):
    """What `compose` needs beside the response."""

    verdict: Verdict
    limits: Limits
    own: Container[bytes]
    """The host's own addresses, packed."""
    observe: bool
    """Nothing is taken out of an answer in observe mode: what no rule covers is passed on ungranted."""


def compose(
    response: Response, name: bytes, qtype: int, scope: Scope, *, now: float, left_s: float | None
) -> Answer:
    """The answer to (name, qtype); `left_s` are the seconds until a rule of the verdict expires.

    Raises WireError when the chain is no chain (`wire.chain.walk`), or ends in data and NXDOMAIN.
    """
    walked = chain.walk(response, name, qtype)
    if walked.final and response.rcode != n.NOERROR:
        # NXDOMAIN speaks of the chain's end (RFC 6604): beside its data one of the two is a lie.
        raise WireError("NXDOMAIN beside the data that was asked for")
    rules = scope.verdict.rules if scope.verdict.outcome is Outcome.ALLOWED else ()
    final, by_rule, scrubbed = _scrub(walked.final, qtype, rules, scope)
    authority: tuple[Record, ...] = ()
    ttl = walked.ttl
    if not walked.final:
        soa, negative_ttl = chain.negative(response, walked.end)
        authority = (soa,) if soa is not None else ()
        ttl = min(walked.ttl, negative_ttl) if walked.links else negative_ttl
    ttl = told_ttl(ttl, scope.limits, left_s)
    records = tuple(record._replace(ttl=ttl) for record in (*walked.links, *final))
    ede = None
    if walked.final and not final:
        ede = (EDE_FILTERED, _SPECIAL_PURPOSE if scrubbed else _ELSEWHERE)
    return Answer(
        rcode=response.rcode,
        records=records,
        authority=tuple(record._replace(ttl=ttl) for record in authority),
        by_rule=by_rule,
        ttl_s=ttl,
        ends=now + ttl,
        data_ends=now + ttl,
        rules_end=None if left_s is None else now + left_s,
        ede=ede,
        scrubbed=scrubbed,
    )


_ByRule = tuple[tuple[Rule, tuple[bytes, ...]], ...]


def _scrub(
    final: tuple[Record, ...], qtype: int, rules: tuple[Rule, ...], scope: Scope
) -> tuple[tuple[Record, ...], _ByRule, int]:
    """(records that may be told, addresses by rule, how many special-purpose ones were left out)."""
    if not rules:
        return final, (), 0
    if qtype in _HINT_TYPES:
        # Without derived names a client could not ask for another target's addresses.
        usable = tuple(r for r in final if svcb.target(r.rdata) in (_ROOT, r.owner))
        addresses = [address for record in usable for address in svcb.hints(record.rdata)]
    elif qtype in _ADDRESS_TYPES:
        usable, addresses = final, [record.rdata for record in final]
    else:
        return final, (), 0
    unique = list(dict.fromkeys(addresses))
    accepted = {rule: {a for a in unique if is_acceptable(a, rule.private, scope.own)} for rule in rules}
    acceptable = [address for address in unique if any(address in taken for taken in accepted.values())]
    granted = acceptable[: scope.limits.max_addresses_per_name]
    by_rule = tuple((rule, tuple(a for a in granted if a in accepted[rule])) for rule in rules)
    if scope.observe:
        return final, by_rule, 0
    return keep(usable, qtype, frozenset(granted)), by_rule, len(unique) - len(acceptable)


def keep(records: tuple[Record, ...], qtype: int, granted: Container[bytes]) -> tuple[Record, ...]:
    """The records without any address outside `granted`; ECH is left out of HTTPS records."""
    if qtype in _HINT_TYPES:
        return tuple(record._replace(rdata=svcb.rebuild(record.rdata, granted)) for record in records)
    return tuple(record for record in records if record.rdata in granted)


def grants(answer: Answer, name: bytes, now: float) -> list[Grant]:
    """What must be in the kernel before `answer` may leave at `now` or later until its end."""
    ttl_s = math.ceil(max(answer.ends - now, 0.0))
    return [
        Grant(rule.name, address, ttl_s, name, answer.rules_end)
        for rule, addresses in answer.by_rule
        for address in addresses
    ]


def without(answer: Answer, qtype: int, refused: Container[bytes]) -> Answer | None:
    """The answer less the addresses that no budget is left for; None when nothing remains of it."""
    by_rule = tuple(
        (rule, tuple(a for a in addresses if a not in refused)) for rule, addresses in answer.by_rule
    )
    granted = {address for _, addresses in by_rule for address in addresses}
    if not granted:
        return None
    links = tuple(record for record in answer.records if record.rtype != qtype)
    final = tuple(record for record in answer.records if record.rtype == qtype)
    return answer._replace(records=links + keep(final, qtype, granted), by_rule=by_rule)


def aged(answer: Answer, limits: Limits, now: float) -> Answer:
    """An answer past its end, given once more because no upstream answers (RFC 8767)."""
    left_s = None if answer.rules_end is None else answer.rules_end - now
    ttl = told_ttl(STALE_TTL_S, limits, left_s)
    return answer._replace(
        records=tuple(record._replace(ttl=ttl) for record in answer.records),
        authority=tuple(record._replace(ttl=ttl) for record in answer.authority),
        ttl_s=ttl,
        ends=now + ttl,
        ede=(3, "stale: no upstream answers"),
    )
