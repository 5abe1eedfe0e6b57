"""Cached answers, as messages that an upstream could have sent, and from these back into the cache.

Knows the road's rooms and the ledger; must not know files. Keeps invariants 1, 2 and 5 to 7 for what comes
back: the question is decided anew by the policy in force, the message is parsed and composed by the code that
a fresh one goes through, and then each address must stand in the ledger, which has what the kernel holds,
under every rule that is to grant it, for as long as the answer may be told. Nothing is leased for it. What
fails in any of this is asked for anew.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Final

from dynallow.checkpoint.lines import Told, read_told, write_told
from dynallow.errors import WireError
from dynallow.lease.ledger import Ledger
from dynallow.policy.verdict import ALLOWED, Verdict
from dynallow.resolver.answer import Answer, Scope, compose
from dynallow.resolver.cache import Key
from dynallow.resolver.road import Road
from dynallow.wire import numbers as n
from dynallow.wire.render import render
from dynallow.wire.response import parse_response

ANSWERS_MAX: Final = 2000
"""The ones that were made last."""
_MESSAGE_MAX: Final = 4096
_WORTH_S: Final = 2.0
"""What may be told for less than this is not worth a line."""
_SLICE: Final = 50


def remember(road: Road) -> Iterator[list[str]]:
    """Lines for the answers that were made last, a slice at each step."""
    newest = road.cache.newest(ANSWERS_MAX)
    for start in range(0, len(newest), _SLICE):
        now = road.clock()
        made = (_line(key, answer, now) for key, answer in newest[start : start + _SLICE])
        yield [line for line in made if line]


def _line(key: Key, answer: Answer, now: float) -> str:
    """Empty for what cannot be found again by this alone: stale data, signatures, what was left out of it."""
    name, qtype, how, _ = key
    odd = how or answer.proof is not None or answer.ede is not None or answer.scrubbed
    if odd or answer.ends != answer.data_ends or answer.ends < now + _WORTH_S:
        return ""
    section = name + qtype.to_bytes(2, "big") + n.CLASS_IN.to_bytes(2, "big")
    body = render(
        section,
        flags=0,
        rcode=answer.rcode,
        records=answer.records,
        authority=answer.authority,
        ttl_s=answer.ttl_s,
        max_size=_MESSAGE_MAX,
    )[0]
    return write_told(Told(name, qtype, answer.ends - answer.ttl_s, bytes(2) + body))


def recall(line: str, road: Road, ledger: Ledger, blocked: Container[bytes]) -> bool:
    """Put the answer that a line tells of into the cache, if it may be told now; whether it was.

    `blocked` are the addresses that the kernel holds as revoked.
    """
    try:
        told = read_told(line)
        verdict = road.decide(told.name, told.qtype)
        if verdict.outcome is not ALLOWED or not verdict.rules:
            return False
        answer = _composed(told, road, verdict)
    except (ValueError, WireError):
        return False
    now = road.clock()
    if answer is None or not now + _WORTH_S <= answer.ends or answer.scrubbed or answer.ede is not None:
        return False
    if not _holds(answer, ledger, blocked) or not _leads(answer, road, verdict, now):
        return False
    under = tuple([rule.index for rule in verdict.rules]) if verdict.leads else ()
    key = (told.name, told.qtype, 0, under)
    if len(road.cache) >= road.cache.size or road.cache.fresh(key, now) is not None:
        return False
    road.cache.put(key, answer)
    return True


def _composed(told: Told, road: Road, verdict: Verdict) -> Answer | None:
    """The answer as it would have been composed when it was made, under the terms in force now."""
    terms, now = road.terms, road.clock()
    if told.made > now or terms.dnssec:
        return None
    response = parse_response(told.message, id=0, name=told.name, qtype=told.qtype)
    if response.truncated or response.questionless or response.rcode not in (n.NOERROR, n.NXDOMAIN):
        return None
    left_s = None if verdict.until is None else verdict.until - road.wall() + (now - told.made)
    scope = Scope(verdict, terms.limits, road.own, terms.observe, terms.policy)
    return compose(response, told.name, told.qtype, scope, now=told.made, left_s=left_s)


def _holds(answer: Answer, ledger: Ledger, blocked: Container[bytes]) -> bool:
    """Whether the kernel holds each address for every rule that is to grant it, beyond the answer's end."""
    return all(
        address not in blocked and ledger.deadline(rule.name, address) >= answer.ends
        for rule, addresses in answer.by_rule
        for address in addresses
    )


def _leads(answer: Answer, road: Road, verdict: Verdict, now: float) -> bool:
    """Whether the names that it leads to may be asked for as long as it is told."""
    policy = road.terms.policy
    for target in answer.targets:
        led = {rule.name: lead.until for rule, lead in road.derived.leads(target, now)}
        for rule in verdict.rules:
            if policy.leaves(rule, target) and led.get(rule.name, 0.0) < answer.ends:
                return False
    return True
