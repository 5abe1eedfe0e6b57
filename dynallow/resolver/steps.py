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
from collections.abc import Callable, Container, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

from dynallow.policy.verdict import ALLOWED, DENIED, Verdict
from dynallow.resolver.answer import Answer

P = ParamSpec("P")
T = TypeVar("T")

EVERY: Final = 11
BOUNDS: Final = (
    *(0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005),
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
"""Seconds; a bucket holds what took no longer. A question waits 4 s for its upstreams at most."""
_STALE: Final = 3  # RFC 8914 section 4.4: what `answer.aged` puts there


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
        return work if self._left else self._timed(work)

    def waiting(
        self, work: Callable[P, Coroutine[Any, Any, T]], since: float | None = None
    ) -> Callable[P, Coroutine[Any, Any, T]]:
        """The same of what waits; `since`: when it began, if before its call."""
        self._left -= 1
        return work if self._left else self._timed_waiting(work, since)

    def note(self, seconds: float) -> None:
        """Count one."""
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def _timed(self, work: Callable[P, T]) -> Callable[P, T]:
        self._left = EVERY

        def timed(*args: P.args, **kwargs: P.kwargs) -> T:
            began = self._clock()
            try:
                return work(*args, **kwargs)
            finally:
                self.note(self._clock() - began)

        return timed

    def _timed_waiting(
        self, work: Callable[P, Coroutine[Any, Any, T]], since: float | None
    ) -> Callable[P, Coroutine[Any, Any, T]]:
        self._left = EVERY

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
        self.allowed: Told = {}
        self.denied: Told = {}
        """Passed all the same, in mode observe."""
        self.filtered: Told = {}
        self.trimmed: dict[str, int] = {}
        """Addresses that no budget was left for, by the rules that would have granted them."""

    def told(self, verdict: Verdict, answer: Answer | None, kept: bool) -> None:
        """Count an answer under every rule that allows it; `kept`: it was there. None: it failed."""
        if answer is None:
            source = "failed"
        elif answer.ede is not None and answer.ede[0] == _STALE:
            source = "stale"
        else:
            source = "cache" if kept else "upstream"
        outcome, rules = verdict.outcome, verdict.rules
        told = self.allowed if outcome is ALLOWED else self.denied if outcome is DENIED else self.filtered
        for rule in rules:
            key = (rule.name, source)
            told[key] = told.get(key, 0) + 1
        if not rules:
            told["", source] = told.get(("", source), 0) + 1

    def left_out(self, answer: Answer, refused: Container[bytes]) -> None:
        """Count what the leaser refused under each rule that it was meant for."""
        for rule, addresses in answer.by_rule:
            left = sum(address in refused for address in addresses)
            self.trimmed[rule.name] = self.trimmed.get(rule.name, 0) + left
