"""One fresh answer on its way, and those who wait for the same.

A thousand clients that ask the same at once cost one upstream query and one
transaction: the question that came first flies, its twins join. Must not know
how an answer is made. Invariant: whoever joined is told something, however the
flight ends, by `land` or `fail`.
"""

from __future__ import annotations

from dynallow.errors import DecideAgainError
from dynallow.resolver.answer import Answer
from dynallow.tasks import Promise

Twins = list[Promise[Answer]]
"""Who joined one flight: mostly nobody, so that a flight is an empty list."""


def join(twins: Twins) -> Promise[Answer]:
    """The answer when it is there. Raises what the flight failed with."""
    twin: Promise[Answer] = Promise()
    twins.append(twin)
    return twin


def land(twins: Twins, answer: Answer) -> None:
    """Tell the twins the answer."""
    for twin in twins:
        twin.set_result(answer)


def fail(twins: Twins, error: BaseException) -> None:
    """Tell the twins why there is none. Who was cancelled must not take the answer from the others."""
    if not isinstance(error, Exception):
        error = DecideAgainError("whoever asked first went away")
    for twin in twins:
        twin.set_exception(error)
