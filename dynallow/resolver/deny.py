"""The last step of the road for what may not pass: the reply that says so.

Knows why a name is denied, and what this host itself knows of it; must not know who asked.
Invariant: what may be given again goes into the store of denials, and only what holds for everybody
who asks the same until the rules change.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dynallow.policy.reserved import why_absent
from dynallow.policy.rrtypes import KEY_TYPES
from dynallow.policy.verdict import DENIED
from dynallow.resolver import athome, local
from dynallow.resolver.asked import Asked
from dynallow.wire import numbers as n

if TYPE_CHECKING:
    from dynallow.resolver.road import Road


def deny(road: Road, asked: Asked) -> bytes:
    """The reply to a question that was denied or filtered in this same step."""
    packet, question, udp, verdict = asked
    terms = road.terms
    denied = terms.denied
    if verdict.outcome is DENIED:
        name = question.name
        if name.endswith(athome.ENDINGS) and (body := _at_home(road, asked)) is not None:
            return packet[:2] + body
        if terms.observe:  # then nobody else is denied
            verdict = replace(verdict, kin=0)
        if (reason := why_absent(name, terms.suffixes)) is not None:
            denied, verdict = "nxdomain", replace(verdict, reason=reason, kin=0)
    body = local.denial(question, verdict, denied, asked.max_size, terms.denied_ttl_s)
    # A denial may be given again over either (see `again`); keys of zones may be allowed any time.
    fits = udp or len(body) + 2 <= n.UDP_PLAIN
    if fits and not (terms.dnssec and question.qtype in KEY_TYPES):
        road.denials.put(packet, question, verdict, body)
    return packet[:2] + body


def _at_home(road: Road, asked: Asked) -> bytes | None:
    """What this host knows of the name; kept nowhere, since a lease may go at any time."""
    _packet, question, _udp, verdict = asked
    ttl_s = road.terms.denied_ttl_s
    answer = athome.answer(question, verdict, road.earned, road.clock(), asked.max_size, ttl_s)
    if answer is None:
        return None
    body, told = answer
    if told:  # `_decide` counted it as denied, in this same step
        road.denials.seen.take_back()
        road.counts.denied -= 1
        road.counts.local += 1
    return body
