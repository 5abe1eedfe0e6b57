"""From a validated response to the answer that may be given, and what it grants.

Pure: knows records, verdicts and address space; must not know sockets, clocks
(time is an argument) or nft. Invariants 5 and 6 meet here: only the chain from
the question counts, and no special-purpose address passes unless a rule names it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Container
from itertools import chain as joined
from typing import Final, NamedTuple

from dynallow.errors import WireError
from dynallow.lease.grant import Grant, Limits, lifetime, told_ttl
from dynallow.policy.names import Name
from dynallow.policy.policy import Policy
from dynallow.policy.rules import Rule
from dynallow.policy.special import all_ordinary, is_acceptable, is_ordinary
from dynallow.policy.verdict import ALLOWED, Verdict
from dynallow.wire import chain, svcb
from dynallow.wire import numbers as n
from dynallow.wire.response import Record, Response
from dynallow.wire.signatures import Proof, prove, unsigned

_ROOT = b"\0"
_ADDRESS_TYPES = (n.A, n.AAAA)
_HINT_TYPES = (n.HTTPS, n.SVCB)
_LEADING_TYPES = (*_HINT_TYPES, n.SRV, n.CNAME)
GRANTING_TYPES = (*_ADDRESS_TYPES, *_HINT_TYPES)
"""The record types whose answers grant addresses."""
EDE_FILTERED = 17
_SPECIAL_PURPOSE = "its addresses are special-purpose, and no rule's `private` names their prefix"
_ELSEWHERE = "its records point to names that may not be asked for"
STALE_TTL_S = 30  # RFC 8767 section 5.2
# What is asked for in the last tenth of its time is in use; below 5 s there would be no time for it.
_RENEWS_AFTER: Final = 0.9
_RENEWS_FROM_S: Final = 5
# What an upstream can make `compose` do is bounded: of addresses that need a second look, of HTTPS
# records and of their bytes no more than these are looked at. No honest name has as many.
_ODD_MAX: Final = 256
_SERVICES_MAX: Final = 16
_SERVICE_BYTES_MAX: Final = 4096
TARGETS_MAX: Final = 32
"""Of no more SRV targets than these may a client ask: those with the best priorities."""
_SRV_TARGET: Final = 6  # where it begins: behind priority, weight and port (RFC 2782)
_new = tuple.__new__  # what Answer(...) calls in the end, at half the price


class Answer(NamedTuple):
    """What a client may be told of one (name, type) until `ends`.

    What is left of `ttl_s`, the smallest TTL on the chain, is told for every
    record in place of its own: a client that keeps a CNAME longer than the
    address behind it gains nothing, and invariant 2 then holds for each alike.
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
    """How many special-purpose addresses were left out before the answer was full."""
    renews: float = math.inf
    """Monotonic second from which it is asked for anew, while it still may be told: nobody then waits."""
    proof: Proof | None = None
    """What a validator needs beside it; None unless it was asked for."""
    targets: tuple[Name, ...] = ()
    """The names that a client may come back for: of CNAMEs, services, other hosts (`resolver/derived.py`)."""

    def left(self, now: float) -> int:
        """The TTL to tell at `now`: whole seconds, rounded down."""
        return max(int(self.ends - now), 0)

    def leased_until(self, now: float, limits: Limits) -> float:
        """Until when a lease lives that is made for it at `now`."""
        until = now + lifetime(self.ttl_s, limits)
        return until if self.rules_end is None or until < self.rules_end else self.rules_end

    def told(self, do: bool, ad: bool) -> tuple[tuple[Record, ...], tuple[Record, ...], bool]:
        """For a client that sets these: the answer and authority sections, and AD (RFC 6840 section 5.8)."""
        proof = self.proof
        if proof is None or not do:
            return self.records, self.authority, ad and proof is not None and proof.secure
        records = proof.dnames + self.records + proof.records
        return records, self.authority + proof.authority, proof.secure


class Scope(NamedTuple):
    """What `compose` needs beside the response."""

    verdict: Verdict
    limits: Limits
    own: Container[bytes]
    """The host's own addresses, packed."""
    observe: bool
    """Nothing is taken out of an answer in observe mode: what no rule covers is passed on ungranted."""
    policy: Policy = Policy()
    """Says which targets of services a client may ask for."""


_Scoped = tuple[Verdict, Limits, Container[bytes], bool, Policy]
"""What a `Scope` is made of: the road makes a plain tuple for each answer, at a quarter of the price."""


def compose(
    response: Response, name: bytes, qtype: int, scope: _Scoped, *, now: float, left_s: float | None
) -> Answer:
    """The answer to (name, qtype); `left_s` are the seconds until a rule of the verdict expires.

    Raises WireError when the chain is no chain (`wire.chain.walk`), or ends in data and NXDOMAIN.
    """
    links, final, end, ttl = chain.walk(response, name, qtype)
    rcode = response.rcode
    by_rule: _ByRule = ()
    authority: tuple[Record, ...] = ()
    scrubbed, ede = 0, None
    if final:
        if rcode != n.NOERROR:
            # NXDOMAIN speaks of the chain's end (RFC 6604): beside its data one of the two is a lie.
            raise WireError("NXDOMAIN beside the data that was asked for")
        final, by_rule, scrubbed = _scrub(final, qtype, scope)
        if not final:
            ede = (EDE_FILTERED, _SPECIAL_PURPOSE if scrubbed else _ELSEWHERE)
    else:
        soa, negative_ttl = chain.negative(response, end)
        authority = (soa,) if soa is not None else ()
        ttl = min(ttl, negative_ttl) if links else negative_ttl
    ttl = told_ttl(ttl, scope[1], left_s)
    ends = now + ttl
    rules_end = None if left_s is None else now + left_s
    records = links + final if links else final
    renews = _renews(now, ttl)
    targets = _targets(links, final, qtype) if links or qtype in _LEADING_TYPES else ()
    lasts = (ttl, ends, ends, rules_end)
    return _new(Answer, (rcode, records, authority, by_rule, *lasts, ede, scrubbed, renews, None, targets))


def proven(answer: Answer, response: Response, name: bytes, qtype: int, now: float) -> Answer:
    """What was just composed of the response, with the proofs in it; told no longer than these may be."""
    proof = prove(response, name, qtype, answer.records, answer.authority)
    if proof.ttl >= answer.ttl_s:
        return answer._replace(proof=proof)
    ends = now + proof.ttl
    renews = _renews(now, proof.ttl)
    return answer._replace(proof=proof, ttl_s=proof.ttl, ends=ends, data_ends=ends, renews=renews)


def _targets(links: tuple[Record, ...], final: tuple[Record, ...], qtype: int) -> tuple[Name, ...]:
    """The names that these records lead to, each once; listed ones and such that cannot be asked for too."""
    found = [link[3] for link in links]
    if qtype == n.CNAME:
        found += [record[3] for record in final]
    elif qtype == n.SRV:
        best = sorted([record[3] for record in final])[:TARGETS_MAX]
        found += [rdata[_SRV_TARGET:] for rdata in best]
    elif qtype in _HINT_TYPES:
        for owner, _rtype, _ttl, rdata in final[:_SERVICES_MAX]:
            target = svcb.target(rdata)
            if target not in (_ROOT, owner):
                found.append(target)
            elif owner[1:2] == b"_":  # "_8443._https.NAME" itself, which NAME's rule opens for services alone
                found.append(owner)
    return tuple(dict.fromkeys(found)) if len(found) > len(links) else tuple(found)


def _renews(now: float, ttl_s: int) -> float:
    return now + ttl_s * _RENEWS_AFTER if ttl_s >= _RENEWS_FROM_S else math.inf


_ByRule = tuple[tuple[Rule, tuple[bytes, ...]], ...]


def _scrub(final: tuple[Record, ...], qtype: int, scope: _Scoped) -> tuple[tuple[Record, ...], _ByRule, int]:
    """(records that may be told, addresses by rule, how many special-purpose ones were left out)."""
    verdict, limits, own, observe, policy = scope
    rules = verdict.rules
    addresses: Collection[bytes]
    if verdict.outcome is not ALLOWED or not rules:
        return final, (), 0
    if qtype in _ADDRESS_TYPES:
        usable = final
        addresses = tuple([record[3] for record in final]) if len(final) > 1 else (final[0][3],)
        if len(addresses) <= limits.max_addresses_per_name and all_ordinary(addresses):
            for address in addresses:
                if address in own:
                    break
            else:  # nearly always
                if len(rules) == 1:
                    return final, ((rules[0], addresses),), 0
                return final, tuple([(rule, addresses) for rule in rules]), 0
    elif qtype in _HINT_TYPES:
        usable = _usable(final, policy, rules)
        addresses = dict.fromkeys(joined.from_iterable([svcb.hints(record[3]) for record in usable]))
    else:
        return final, (), 0
    if len(addresses) > limits.max_addresses_per_name:
        # The same ones in whatever order they come: others would not fit beside those of the last time.
        addresses = sorted(addresses)
    granted: list[bytes] = []
    opened: dict[bytes, set[int]] = {}  # special-purpose addresses that rules name, and which rules do
    odd = scrubbed = 0
    for address in addresses:
        if not is_ordinary(address) or address in own:
            odd += 1
            if odd > _ODD_MAX:
                break
            if not is_acceptable(address, (), own):
                takers = {rule.index for rule in rules if rule.opens(address)}
                if not takers:
                    scrubbed += 1
                    continue
                opened[address] = takers
        granted.append(address)
        if len(granted) == limits.max_addresses_per_name:
            break
    alike = tuple(granted)
    if opened:
        by_rule = tuple([(rule, _taken(rule, alike, opened)) for rule in rules])
    else:
        by_rule = tuple([(rule, alike) for rule in rules])
    if observe:
        return final, by_rule, 0
    if usable is final and len(alike) == len(final) and qtype in _ADDRESS_TYPES:
        return final, by_rule, 0
    return keep(usable, qtype, frozenset(alike)), by_rule, scrubbed


def _taken(rule: Rule, granted: tuple[bytes, ...], opened: dict[bytes, set[int]]) -> tuple[bytes, ...]:
    return tuple([a for a in granted if a not in opened or rule.index in opened[a]])


def _usable(services: tuple[Record, ...], policy: Policy, rules: tuple[Rule, ...]) -> tuple[Record, ...]:
    """The HTTPS records whose targets a client may ask for, as many as are looked at."""
    usable, size = [], 0
    for record in services[:_SERVICES_MAX]:
        owner, _rtype, _ttl, rdata = record
        size += len(rdata)
        if size > _SERVICE_BYTES_MAX:
            break
        target = svcb.target(rdata)
        if target in (_ROOT, owner) or policy.may_lead(target, rules):
            usable.append(record)
    return tuple(usable)


def keep(records: tuple[Record, ...], qtype: int, granted: Container[bytes]) -> tuple[Record, ...]:
    """The records without any address outside `granted`; ECH is left out of HTTPS records."""
    if qtype in _HINT_TYPES:
        return tuple(
            (owner, rtype, ttl, svcb.rebuild(rdata, granted)) for owner, rtype, ttl, rdata in records
        )
    return tuple(record for record in records if record[3] in granted)


def grants(answer: Answer, name: bytes, now: float) -> list[Grant]:
    """What must be in the kernel before `answer` may leave at `now` or later until its end."""
    left = answer.ends - now
    ttl_s = math.ceil(left) if left > 0.0 else 0
    ends = answer.rules_end
    found: list[Grant] = []
    for rule, addresses in answer.by_rule:
        if addresses:
            found.append(_new(Grant, (rule.name, addresses, ttl_s, name, ends)))
    return found


def without(answer: Answer, qtype: int, refused: Container[bytes]) -> Answer | None:
    """The answer less the addresses that no budget is left for; None when nothing remains of it."""
    by_rule = tuple(
        (rule, tuple(a for a in addresses if a not in refused)) for rule, addresses in answer.by_rule
    )
    granted = {address for _, addresses in by_rule for address in addresses}
    if not granted:
        return None
    links = tuple(record for record in answer.records if record[1] != qtype)
    final = tuple(record for record in answer.records if record[1] == qtype)
    proof = answer.proof and unsigned(answer.proof, qtype)
    return answer._replace(records=links + keep(final, qtype, granted), by_rule=by_rule, proof=proof)


def aged(answer: Answer, limits: Limits, now: float) -> Answer:
    """An answer past its end, given once more because no upstream answers (RFC 8767)."""
    left_s = None if answer.rules_end is None else answer.rules_end - now
    ttl = told_ttl(STALE_TTL_S, limits, left_s)
    return answer._replace(
        ttl_s=ttl,
        ends=now + ttl,
        ede=(3, "stale: no upstream answers"),
        renews=_renews(now, ttl),
        proof=answer.proof and answer.proof._replace(secure=False),  # nobody vouches for it now
    )
