"""The road of a question: read `walk` from top to bottom.

    parse ─ decide ─┬─ denied, filtered ──────────────▶ local reply
                    └─ allowed ─ cache / in-flight twin / upstream
                                   ─ compose ─ lease ─▶ reply

Knows each room's door, and nothing of sockets or nft. Invariant 1 is kept by
order alone: a reply is rendered after `ensure` has returned, in the same step,
and every later reply from the cache rests on that same acknowledgement. If the
policy or the leases change while a question waits (`generation`), it starts over.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from dynallow.errors import (
    DecideAgainError,
    DynallowError,
    KernelError,
    OverloadError,
    UpstreamError,
    WireError,
)
from dynallow.policy.names import Name
from dynallow.policy.reserved import reserved
from dynallow.policy.rrtypes import KEY_TYPES
from dynallow.policy.verdict import ALLOWED, DENIED, FILTERED, ZONE_KEYS, Verdict
from dynallow.resolver import athome, local
from dynallow.resolver.answer import Answer, aged, compose, grants, proven, without
from dynallow.resolver.asked import BARE_MAX, Asked
from dynallow.resolver.cache import AnswerCache, Key, without_cd
from dynallow.resolver.counts import Counts
from dynallow.resolver.denials import Denials
from dynallow.resolver.deny import deny
from dynallow.resolver.derived import Derived, rooted
from dynallow.resolver.flight import Twins, fail, join, land
from dynallow.resolver.hot import HotReplies, HotTcpReplies
from dynallow.resolver.leaser import Leaser
from dynallow.resolver.steps import Steps
from dynallow.resolver.terms import Terms
from dynallow.resolver.upstream.pool import Upstreams
from dynallow.tasks import Tasks
from dynallow.wire import numbers as n
from dynallow.wire.question import Question, QuestionError, parse_question
from dynallow.wire.render import render
from dynallow.wire.response import Response

log = logging.getLogger(__name__)

# A question that waits while the policy or the table changes is decided anew, this often at most.
_ROUNDS = 4
MAX_WAITING = 4096
"""Questions that may wait for a fresh answer at once; each holds a socket or waits for one that does."""
MAX_RENEWALS = 512
"""Not so many flights that renewals take the places of those for whom somebody waits."""
_RENEW_AGAIN_S = 5.0
_new = tuple.__new__  # what Asked(...) calls in the end, at half the price


@dataclass(slots=True)
class Road:
    """Answers questions; one for all listeners."""

    terms: Terms
    leaser: Leaser
    upstreams: Upstreams
    cache: AnswerCache
    hot: HotReplies
    tasks: Tasks
    denials: Denials = field(default_factory=Denials)
    hot_tcp: HotTcpReplies = field(default_factory=HotTcpReplies)
    derived: Derived = field(default_factory=Derived)
    own: Container[bytes] = frozenset()
    earned: athome.Earned = lambda address, now: ()
    counts: Counts = field(default_factory=Counts)
    steps: Steps = field(default_factory=Steps)
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    alert: Callable[[], None] = lambda: None
    """Looks whether the sets are still what they were; calls `forget` if not."""
    generation: int = 0
    tcp_connections: int = 0
    tcp_held: int = 0  # bytes, replies not read and halves of questions: see `TcpLimits`
    waiting: int = 0
    """Clients' questions that wait for an answer."""
    _flights: dict[Key, Twins] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.change(self.terms)

    def change(self, terms: Terms) -> None:
        """Other terms from now on; whoever changes them calls `forget` as well."""
        self.terms = terms
        self.denials.seen.turn(terms)
        self.steps.turn(terms.policy.rules)
        # Told not to keep denials, a client asks again and again: what it is told then may be a second old.
        self.denials.keep_for(max(terms.denied_ttl_s, 1))

    async def walk(self, packet: bytes, *, udp: bool) -> bytes | None:
        """The reply to a client's packet; None for silence."""
        met = self.meet(packet, udp)
        return await self.answer(met) if isinstance(met, Asked) else met

    def repeat(
        self, questions: Sequence[bytes], replies: list[bytes | None], slots: list[int], now: float
    ) -> list[int]:
        """Put what `meet` would say again in those of `slots` where it is known; returns the others.

        Of UDP questions, TCP has `again`; they and the replies are less their ids.
        """
        others, filtered = self.denials.fill(questions, replies, slots, now)
        self.counts.filtered += filtered
        self.counts.denied += len(slots) - len(others) - filtered
        return others

    def meet(self, packet: bytes, udp: bool = True) -> Asked | bytes | None:
        """What needs no waiting: the reply to the malformed, unserved or denied; else what to answer."""
        try:
            question = parse_question(packet)
        except QuestionError as fault:
            self.counts.malformed += 1
            return local.malformed(fault)
        if (refusal := local.refusal(question)) is not None:
            self.counts.refused += 1
            return refusal
        verdict = self._decide(question)
        asked: Asked = _new(Asked, (packet, question, udp, verdict))
        return asked if verdict.outcome is ALLOWED or self._may_pass(asked) else deny(self, asked)

    async def answer(self, asked: Asked) -> bytes:
        """The reply to a question that may pass, when every lease behind it holds."""
        question = asked.question
        for _ in range(_ROUNDS):
            generation = self.generation
            verdict = asked.verdict
            under = tuple([rule.index for rule in verdict.rules]) if verdict.leads else ()
            key = (question.name, question.qtype, self.terms.how(question), under)
            try:
                kept = self._kept(key, verdict)
                answer = kept or await self._obtain(key, verdict)
            except DecideAgainError:
                pass
            except (KernelError, UpstreamError, OverloadError) as error:
                if generation == self.generation:
                    return self._fail(asked, error)
                # else it may have failed because what it rested on is gone
            else:
                # From here to the reply nothing waits: what was acknowledged still holds.
                self.alert()
                if generation == self.generation:
                    self.steps.told(verdict, answer, kept is answer)
                    return self.steps.reply.of(self._tell)(asked, answer)
            asked = asked._replace(verdict=self._decide(question))
            if not self._may_pass(asked):
                return deny(self, asked)
        unsettled = DecideAgainError("the rules changed again and again while this question waited")
        return self._fail(asked, unsettled)

    def decide(self, name: Name, qtype: int) -> Verdict:
        """The policy's verdict, and that of the names which answers have led to."""
        policy, wall = self.terms.policy, self.wall()
        keys = qtype in KEY_TYPES and self.terms.dnssec
        if keys and (policy.is_above(name, wall) or self.derived.is_at_or_above(name)):
            return ZONE_KEYS
        verdict = policy.decide(name, qtype, wall)
        if verdict.outcome is DENIED and self.derived.rules:
            verdict = self.derived.decide(policy, verdict, name, qtype, self.clock(), wall)
        return verdict

    def _decide(self, question: Question) -> Verdict:
        verdict = self.decide(question.name, question.qtype)
        if verdict.outcome is ALLOWED:
            self.counts.allowed += 1
            return verdict
        self.denials.seen.refuse(question.name, question.qtype, verdict)
        if verdict.outcome is FILTERED:
            self.counts.filtered += 1
        else:
            self.counts.denied += 1
        return verdict

    def _may_pass(self, asked: Asked) -> bool:
        # Observing blocks nothing, but no upstream has anything to say of a reserved name.
        return asked.verdict.outcome is ALLOWED or (
            self.terms.observe and reserved(asked.question.name) is None
        )

    def _kept(self, key: Key, verdict: Verdict) -> Answer | None:
        """The cached answer, whose leases hold; asked for anew when it is about to lapse."""
        now = self.clock()
        answer = self.cache.fresh(key, now)
        if answer is None and key[2] & n.CD:  # what was good enough for the others does for him too
            key = without_cd(key)
            answer = self.cache.fresh(key, now)
        if answer is not None:
            self.counts.cached += 1
            if now >= answer.renews:
                self._renew(key, verdict, answer, now)
        return answer

    async def _obtain(self, key: Key, verdict: Verdict) -> Answer:
        """A fresh answer: the one that a twin waits for, or one of our own."""
        if self.waiting >= MAX_WAITING:
            self.counts.overload += 1
            raise OverloadError("too many questions wait for an answer")
        self.waiting += 1
        try:
            twins = self._flights.get(key)
            if twins is not None:
                self.counts.joined += 1
                return await join(twins)
            self.counts.fresh += 1
            return await self._fly(key, verdict)
        finally:
            self.waiting -= 1

    def _renew(self, key: Key, verdict: Verdict, answer: Answer, now: float) -> None:
        """Ask anew for what is in use and about to lapse; whoever asked now has his answer already."""
        if key not in self._flights and len(self._flights) < MAX_RENEWALS:
            self.counts.renewed += 1
            self.cache.put(key, answer._replace(renews=now + _RENEW_AGAIN_S))
            self.tasks.begin(self._renewal(key, verdict))

    async def _renewal(self, key: Key, verdict: Verdict) -> None:
        with suppress(DynallowError):  # whoever joined is told; what is there holds a little longer
            await self._fly(key, verdict)

    async def ask_anew(self, name: Name, qtype: int, rule: str) -> bool:
        """Ask upstream for what `rule` lists, as for a client who waits, and lease what comes.

        Whether there is nothing left to try: not when it failed, or too much is under way.
        """
        verdict = self.decide(name, qtype)
        key = (name, qtype, n.DO if self.terms.dnssec else 0, ())
        listed = verdict.outcome is ALLOWED and not verdict.leads
        if key in self._flights or not listed or all(known.name != rule for known in verdict.rules):
            return True
        if len(self._flights) >= MAX_RENEWALS:
            return False
        try:
            answer = await self._fly(key, verdict)
            # A short TTL that the lease outlives makes it no longer: what is asked for here is a whole one.
            whole_s = math.ceil(self.terms.limits.min_s - self.terms.limits.grace_s)
            short = [one for one in grants(answer, name, self.clock()) if one.ttl_s < whole_s]
            if short:
                await self.leaser.ensure([one._replace(ttl_s=whole_s) for one in short])
        except DynallowError:
            return False
        return True

    async def _fly(self, key: Key, verdict: Verdict) -> Answer:
        """Ask upstream, lease what came, keep it; for all who ask meanwhile. The one way into the cache."""
        generation = self.generation
        twins: Twins = []
        ask, made, ensure = self.steps.flight(self.upstreams.ask, self._compose, self.leaser.ensure)
        self._flights[key] = twins
        try:
            try:
                response = await ask(key[0], key[1], key[2])
                answer = made(response, key, verdict)
            except UpstreamError:
                if (expired := self._stale(key)) is None:
                    raise
                answer = expired
            self._must_be(generation)  # no lease may be made by rules that are gone
            wanted = grants(answer, key[0], self.clock())
            if wanted:
                if verdict.leads or key[0][1:2] == b"_":
                    wanted = rooted(wanted, verdict, self.terms.policy)
                refused = await ensure(wanted)
                self._must_be(generation)
                if refused:
                    answer = self._trim(answer, key[1], refused)
            if answer.targets and verdict.outcome is ALLOWED:
                self._lead(key[0], verdict, answer)
            if answer.ttl_s > 0:
                self.cache.put(key, answer)
            self.denials.seen.lease(key[0], key[1], verdict, answer)
        except BaseException as error:
            fail(twins, error)
            raise
        finally:
            if self._flights.get(key) is twins:
                del self._flights[key]
        land(twins, answer)
        return answer

    def _compose(self, response: Response, key: Key, verdict: Verdict) -> Answer:
        """What an upstream says, as far as it may be told."""
        terms = self.terms
        scope = (verdict, terms.limits, self.own, terms.observe, terms.policy)
        left_s = None if verdict.until is None else verdict.until - self.wall()
        try:
            now = self.clock()
            answer = compose(response, key[0], key[1], scope, now=now, left_s=left_s)
        except WireError as error:
            raise UpstreamError(f"upstream's answer is unusable: {error}", reached=True) from error
        self.counts.scrubbed += answer.scrubbed
        if key[2]:
            answer = proven(answer, response, key[0], key[1], now)
        return answer

    def _lead(self, name: Name, verdict: Verdict, answer: Answer) -> None:
        """Let the names be asked for that an answer, about to be told, leads to."""
        policy, now = self.terms.policy, self.clock()
        until = answer.leased_until(now, self.terms.limits)
        fresh = self.derived.note(policy, verdict, name, answer.targets, now, until)
        self.denials.uncover(fresh)
        if fresh and self.terms.observe:  # they may have passed before, with no lease made
            self.hot.clear()
            self.hot_tcp.clear()

    def _stale(self, key: Key) -> Answer | None:
        """The expired answer, for want of a fresh one."""
        now = self.clock()
        expired = self.cache.stale(key, now) or self.cache.stale(without_cd(key), now)
        if expired is None or expired.ends > now:  # nothing, or a renewal: it is still good
            return None
        self.counts.stale += 1
        return aged(expired, self.terms.limits, now)

    def _must_be(self, generation: int) -> None:
        if generation != self.generation:
            raise DecideAgainError("the rules changed while this question waited")

    def _trim(self, answer: Answer, qtype: int, refused: frozenset[bytes]) -> Answer:
        """The answer less what no budget is left for."""
        self.counts.trimmed += len(refused)
        self.steps.left_out(answer, refused)
        if self.terms.observe:
            return answer
        trimmed = without(answer, qtype, refused)
        if trimmed is None:
            raise KernelError("every budget for the addresses of this name is used up")
        return trimmed

    def _tell(self, asked: Asked, answer: Answer) -> bytes:
        packet, question, udp, verdict = asked
        _id, flags, name, qtype, _qclass, section, edns = question
        left = answer.left(self.clock())
        do = edns is not None and edns.do
        if answer.proof is None:
            records, authority, vouched = answer.records, answer.authority, False
        else:
            records, authority, vouched = answer.told(do, question.ad)
        reply = render(
            section,
            flags=flags,
            rcode=answer.rcode,
            name=name,
            records=records,
            authority=authority,
            ttl_s=left,
            edns=edns is not None,
            do=do,
            ede=answer.ede,
            max_size=n.UDP_PLAIN if udp and edns is None else asked.max_size,
            ad=vouched,
        )
        self.denials.seen.tell(name, qtype, verdict, answer)
        # A derived name is decided anew each time: it may have ended, or another rule have come to it.
        # So is what observing lets pass, since each time is counted as a denial.
        may_come_again = len(packet) - len(section) <= BARE_MAX
        if left > 0 and may_come_again and verdict.outcome is ALLOWED and not verdict.leads:
            if udp:
                self.hot.put(packet, reply, answer, left)
            elif self.hot.size:  # 0 is a setting; the room for these is counted in bytes
                self.hot_tcp.put(packet, reply, answer, left)
        return packet[:2] + reply[0]

    def _fail(self, asked: Asked, error: DynallowError) -> bytes:
        self.counts.servfail += 1
        self.steps.told(asked.verdict, None, False)
        return asked.packet[:2] + local.servfail(asked.question, error, asked.max_size)[0]

    def forget(self) -> None:
        """Rules or leases were taken away: no answer given so far may be given again."""
        self.generation += 1
        self.cache.clear()
        self.hot.clear()
        self.hot_tcp.clear()
        self.denials.clear()
        self.derived.follow(self.terms.policy)
        self._flights.clear()
