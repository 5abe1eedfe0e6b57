"""What was asked and what became of it, until somebody comes to count it.

The road and the store of denials only append and count here; names are read from the bytes, and counted,
by whoever drains them, off the hot path (`sight/`). Pure of clocks and sockets.

Invariants: every denied and filtered question is in a batch or in `untold`; batches are bounded, whoever
drains them or not (10); a batch holds what happened under one set of terms.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from dynallow.policy.names import Name
from dynallow.policy.verdict import Verdict
from dynallow.resolver.answer import Answer
from dynallow.resolver.terms import Terms
from dynallow.wire.numbers import HEADER_SIZE

ROOM: Final = 16384
"""Different questions answered from the store of denials, of a batch: however often each is asked."""
FEW: Final = 4096
"""Questions that were decided, or answered otherwise, of a batch."""
BATCHES_MAX: Final = 4
_NAME: Final = HEADER_SIZE - 2

Told = tuple[Name, int, Verdict, Answer]
"""Name, type, the verdict on them, and what a client was told."""


class Batch(NamedTuple):
    """What happened under `terms`."""

    terms: Terms
    told: list[Told]
    """Answers made for clients; of what no rule allows only where observing."""
    leased: list[Told]
    """Answers that came from an upstream; for clients, or because they were about to end."""
    refused: list[tuple[Name, int, Verdict]]
    """Denied and filtered, in either mode, and decided on the road."""
    denied: dict[bytes, int]
    """Questions less their ids, answered from the store of denials, and how often."""
    kin: list[bytes]
    """The same of those that the store had not answered before, each once; a list is cheaper."""
    filtered: dict[bytes, int]

    def __bool__(self) -> bool:
        return bool(self.told or self.leased or self.refused or self.denied or self.kin or self.filtered)


class Seen:
    """One road's."""

    def __init__(self) -> None:
        self.untold = 0
        """Denied and filtered questions, since the start, that are in no batch."""
        self._terms: Terms | None = None
        self._sealed: list[Batch] = []
        self._begin()

    def _begin(self) -> None:
        self.told: list[Told] = []
        self.leased: list[Told] = []
        self.refused: list[tuple[Name, int, Verdict]] = []
        self.denied: dict[bytes, int] = {}
        self.kin: list[bytes] = []
        self.filtered: dict[bytes, int] = {}

    def __bool__(self) -> bool:
        return bool(self._sealed or (self._terms is not None and self._batch(self._terms)))

    def _batch(self, terms: Terms) -> Batch:
        return Batch(terms, self.told, self.leased, self.refused, self.denied, self.kin, self.filtered)

    def turn(self, terms: Terms) -> None:
        """What comes from now on is under these terms."""
        if self._terms is not None:
            self._seal()
        self._terms = terms

    def refuse(self, name: Name, qtype: int, verdict: Verdict) -> None:
        """A question was denied or filtered (observing: would be); `take_back` in the same step if not."""
        if len(self.refused) >= FEW:
            self._seal()
        self.refused.append((name, qtype, verdict))

    def take_back(self) -> None:
        """The last one was none after all."""
        self.refused.pop()

    def tell(self, name: Name, qtype: int, verdict: Verdict, answer: Answer) -> None:
        """A client is told this."""
        if len(self.told) >= FEW:
            self._seal()
        self.told.append((name, qtype, verdict, answer))

    def lease(self, name: Name, qtype: int, verdict: Verdict, answer: Answer) -> None:
        """This came from an upstream, and its addresses are leased."""
        if len(self.leased) >= FEW:
            self._seal()
        self.leased.append((name, qtype, verdict, answer))

    def again(self) -> tuple[dict[bytes, int], list[bytes], dict[bytes, int]]:
        """Where to note the questions of a burst that the store answers: see `Batch`."""
        if len(self.denied) >= ROOM or len(self.kin) >= ROOM or len(self.filtered) >= ROOM:
            self._seal()
        return self.denied, self.kin, self.filtered

    def _seal(self) -> None:
        terms = self._terms
        if terms is None:
            return
        batch = self._batch(terms)
        self._begin()
        if not batch:
            return
        if len(self._sealed) < BATCHES_MAX:
            self._sealed.append(batch)
        else:
            again = sum(batch.denied.values()) + sum(batch.filtered.values())
            self.untold += len(batch.refused) + len(batch.kin) + again

    def drain(self) -> list[Batch]:
        """Everything so far, the oldest first."""
        sealed = self._sealed
        self._sealed = []
        self._begin_with(sealed)
        return sealed

    def _begin_with(self, sealed: list[Batch]) -> None:
        if self._terms is None:
            return
        batch = self._batch(self._terms)
        if batch:
            self._begin()
            sealed.append(batch)


def question_of(asked: bytes) -> tuple[Name, int]:
    """Name and type of a question less its id, which was answered and hence is well-formed."""
    end = _NAME
    while size := asked[end]:
        end += size + 1
    end += 1
    return asked[_NAME:end].lower(), asked[end] << 8 | asked[end + 1]
