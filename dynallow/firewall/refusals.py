"""What the kernel has just refused, so that the like is not tried again at once.

A transaction that fails holds up the loop for about 8 ms (DESIGN 8.1); a rule
whose set is broken or full must not cost that for each of its answers. Pure:
time is an argument (monotonic seconds). One rule's refusal is no other's concern.
"""

from __future__ import annotations

from collections.abc import Sequence

from dynallow.errors import KernelError, SetFullError
from dynallow.lease.plan import Put

# After a refusal nothing like it is tried for this long, so that failing costs the loop at most a tenth.
_REST_S = 0.08


class Refusals:
    """By rule: until when so many new addresses, or more, are not tried, and why."""

    def __init__(self) -> None:
        self._refused: dict[str, tuple[float, int, KernelError]] = {}

    def check(self, puts: Sequence[Put], now: float) -> None:
        """Raise what the like of `puts` has met, if that was a moment ago."""
        if not self._refused:
            return
        for rule, added in _added(puts).items():
            if rule in self._refused:
                until, least = self._refused[rule][:2]
                if now >= until:
                    del self._refused[rule]
                elif added >= least:
                    # Not by a name here, and without the ways that it went before: see `Promise`.
                    raise self._refused[rule][2].with_traceback(None)

    def note(self, puts: Sequence[Put], error: KernelError, now: float) -> None:
        """`puts` have met `error`; whose fault it was can only be told when they are all of one rule."""
        added_to = _added(puts)
        if len(added_to) == 1:
            ((rule, added),) = added_to.items()
            # A full set still lets those be prolonged that are in it, and perhaps fewer be added.
            least = max(added, 1) if isinstance(error, SetFullError) else 0
            self._refused[rule] = (now + _REST_S, least, error)

    def clear(self) -> None:
        """The sets are new: nothing is known of them."""
        self._refused.clear()


def _added(puts: Sequence[Put]) -> dict[str, int]:
    """How many new addresses for each rule."""
    added: dict[str, int] = {}
    for rule, _, _, _, fresh, _ in puts:
        added[rule] = added.get(rule, 0) + fresh
    return added
