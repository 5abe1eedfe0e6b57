"""Exact counts, split among those whom samples name.

Pure. The kernel counts every denied packet by address, port and user; who sent it, process and unit, is
known of a sample. Keeps: the parts of a count add up to it, whatever the samples say; what is
remembered is bounded (`KEYS_MAX`, `LABELS_MAX`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
L = TypeVar("L", bound=Hashable)

KEYS_MAX: Final = 4096
LABELS_MAX: Final = 64


class Shares(Generic[K, L]):
    """By what is counted: whom the samples named, and how often."""

    def __init__(self, size: int = KEYS_MAX) -> None:
        self.size = size
        self._new: OrderedDict[K, dict[L, int]] = OrderedDict()
        self._old: dict[K, dict[L, int]] = {}
        """Those that have been used up: the proportions, where a count has no samples of its own."""

    def note(self, key: K, label: L) -> None:
        """A sample."""
        labels = self._new.get(key)
        if labels is None:
            labels = self._new[key] = {}
            if len(self._new) > self.size:
                self._new.popitem(last=False)
        if label in labels or len(labels) < LABELS_MAX:
            labels[label] = labels.get(label, 0) + 1

    def split(self, key: K, count: int, otherwise: L) -> dict[L, int]:
        """Who gets how much of `count`; the `otherwise`, where nothing was ever sampled, all of it.

        Each sample stands for one at least, as far as the count goes; the rest is in their proportion.
        """
        fresh = self._new.pop(key, {})
        if not fresh:
            return shared(count, self._old.get(key) or {otherwise: 1})
        taken: dict[L, int] = {}
        for label in [*fresh]:  # those that were seen first; the others belong to what is counted next
            taken[label] = min(fresh[label], count - sum(taken.values()))
            fresh[label] -= taken[label]
            if not fresh[label]:
                del fresh[label]
        if fresh:
            self._new[key] = fresh
        if len(self._old) >= self.size:
            self._old.clear()
        taken = {label: part for label, part in taken.items() if part}
        self._old[key] = taken
        return shared(count, taken)

    def forget(self) -> None:
        """Proportions of what has been counted: who does it now may be another."""
        self._old.clear()


def shared(count: int, weights: dict[L, int]) -> dict[L, int]:
    """`count` in proportion to the weights, in whole numbers that add up; the largest remainders gain."""
    total = sum(weights.values())
    parts = {label: count * weight // total for label, weight in weights.items()}
    left = count - sum(parts.values())
    by_rest = sorted(weights, key=lambda label: -(count * weights[label] % total))
    for label in by_rest[:left]:
        parts[label] += 1
    return {label: part for label, part in parts.items() if part}
