"""How long the steps of the road take, and by which rules and from where answers were told.

Knows clocks and callables; must not know what a step does. A bystander: what it wraps is called once,
with the same arguments, and whatever comes of it (an error too) goes on unchanged.

Invariant: whatever is asked, memory stays the same: a fixed number of buckets, one count a rule and source.
One call in `EVERY` of each step is timed, so that timing costs a fresh answer less than 1 % and a hot one
nothing. A prime, because programs ask in twos and threes (A, AAAA, HTTPS): each kind has its turn.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Container, Coroutine, Iterable, Sequence
from typing import Any, Final, ParamSpec, TypeVar

from dynallow.lease.grant import Grant
from dynallow.policy.names import Name
from dynallow.policy.rules import Rule
from dynallow.policy.verdict import ALLOWED, DENIED, Verdict
from dynallow.resolver.answer import Answer
from dynallow.resolver.cache import Key
from dynallow.wire.response import Response

P = ParamSpec("P")
T = TypeVar("T")
Asking = Callable[[Name, int, int], Coroutine[Any, Any, Response]]
Composing = Callable[[Response, Key, Verdict], Answer]
Ensuring = Callable[[Sequence[Grant]], Coroutine[Any, Any, frozenset[bytes]]]

EVERY: Final = 17
BOUNDS: Final = (
    *(0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005),
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
"""Seconds; a bucket holds what took no longer. A question waits 4 s for its upstreams at most."""
SOURCES: Final = ("cache", "upstream", "stale", "failed")
_SOURCES: Final = len(SOURCES)
_CACHE, _UPSTREAM, _STALE, _FAILED = range(4)
_EDE_STALE: Final = 3  # RFC 8914 section 4.4: what `answer.aged` puts there


class Step:
    """Times of one step: `buckets[i]` counts those of at most `BOUNDS[i]`, the last all that are longer."""

    __slots__ = ("_clock", "_left", "buckets", "seconds")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0
        """Their sum."""
        self._left = 1  # the first one is timed: what is asked seldom is seen all the same
        self._clock = clock

    def of(self, work: Callable[P, T]) -> Callable[P, T]:
        """`work` itself or, one time in `EVERY`, what times its next call."""
        self._left -= 1
        if self._left:
            return work
        self._left = EVERY
        return self.timed(work)

    def waiting(
        self, work: Callable[P, Coroutine[Any, Any, T]], since: float | None = None
    ) -> Callable[P, Coroutine[Any, Any, T]]:
        """The same of what waits; `since`: when it began, if before its call."""
        self._left -= 1
        if self._left:
            return work
        self._left = EVERY
        return self.timed_waiting(work, since)

    def note(self, seconds: float) -> None:
        """Count one."""
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def timed(self, work: Callable[P, T]) -> Callable[P, T]:
        """What times its calls."""

        def timed(*args: P.args, **kwargs: P.kwargs) -> T:
            began = self._clock()
            try:
                return work(*args, **kwargs)
            finally:
                self.note(self._clock() - began)

        return timed

    def timed_waiting(
        self, work: Callable[P, Coroutine[Any, Any, T]], since: float | None = None
    ) -> Callable[P, Coroutine[Any, Any, T]]:
        """The same of what waits."""

        async def timed(*args: P.args, **kwargs: P.kwargs) -> T:
            began = self._clock() if since is None else since
            try:
                return await work(*args, **kwargs)
            finally:
                self.note(self._clock() - began)

        return timed


Told = dict[tuple[str, str], int]
"""How many by rule and source."""


class Steps:
    """All of them, and what was told. Read by the metrics, from another thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.decide = Step(clock)
        """Parse a question and ask the policy; of a denied one the reply, too."""
        self.upstream = Step(clock)
        """Until a server has answered, or none does."""
        self.compose = Step(clock)
        """From its message to what may be told of it."""
        self.kernel = Step(clock)
        """Until the kernel has acknowledged the leases."""
        self.reply = Step(clock)
        """Render."""
        self.whole = Step(clock)
        """All of it, from the taking of the question to the sending of the reply."""
        self.denied: Told = {}
        """Passed all the same, in mode observe."""
        self.filtered: Told = {}
        self.trimmed: dict[str, int] = {}
        """Addresses that no budget was left for, by the rules that would have granted them."""
        self._left = 1
        self._allowed: Told = {}
        """Under policies that are gone."""
        self._by_number: dict[int, int] = {}
        """Under this one, by the rule's number and the source's: each answer counts here."""
        self._names: dict[int, str] = {}

    def turn(self, rules: Iterable[Rule]) -> None:
        """From now on a rule's number means one of these."""
        self._allowed, self._by_number = self.allowed(), {}
        self._names = {rule.index: rule.name for rule in rules}

    def flight(self, ask: Asking, compose: Composing, ensure: Ensuring) -> tuple[Asking, Composing, Ensuring]:
        """The three steps of a fresh answer or, one time in `EVERY`, what times their next calls."""
        self._left -= 1
        if self._left:
            return ask, compose, ensure
        self._left = EVERY
        return (
            self.upstream.timed_waiting(ask),
            self.compose.timed(compose),
            self.kernel.timed_waiting(ensure),
        )

    def told(self, verdict: Verdict, answer: Answer | None, kept: bool) -> None:
        """Count an answer under every rule that allows it; `kept`: it was there. None: it failed."""
        if answer is None:
            source = _FAILED
        elif answer.ede is not None and answer.ede[0] == _EDE_STALE:
            source = _STALE
        else:
            source = _CACHE if kept else _UPSTREAM
        outcome, rules = verdict.outcome, verdict.rules
        if outcome is ALLOWED and rules:
            counts = self._by_number
            for rule in rules:
                key = rule.index * _SOURCES + source
                counts[key] = counts.get(key, 0) + 1
            return
        told = self._allowed if outcome is ALLOWED else self.denied if outcome is DENIED else self.filtered
        for name in [rule.name for rule in rules] or [""]:
            told[name, SOURCES[source]] = told.get((name, SOURCES[source]), 0) + 1

    def allowed(self) -> Told:
        """What was told under rules, by their names; a copy."""
        told = self._allowed.copy()
        for key, count in self._by_number.copy().items():
            index, source = divmod(key, _SOURCES)
            named = (self._names.get(index, ""), SOURCES[source])
            told[named] = told.get(named, 0) + count
        return told

    def left_out(self, answer: Answer, refused: Container[bytes]) -> None:
        """Count what the leaser refused under each rule that it was meant for."""
        for rule, addresses in answer.by_rule:
            left = sum(address in refused for address in addresses)
            self.trimmed[rule.name] = self.trimmed.get(rule.name, 0) + left
