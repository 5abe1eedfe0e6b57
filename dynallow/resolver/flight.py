"""One fresh answer on its way, and those who wait for the same.

A thousand clients that ask the same at once cost one upstream query and one
transaction. Must not know how an answer is made. Invariant: whoever joined is
told something, however the flight ends.
"""

from __future__ import annotations

import asyncio

from dynallow.errors import DecideAgainError
from dynallow.resolver.answer import Answer


class Flight:
    """Flown by the question that came first; its twins join, and are told by `land` or `fail`."""

    __slots__ = ("_twins",)

    def __init__(self) -> None:
        self._twins: list[asyncio.Future[Answer]] = []

    async def join(self) -> Answer:
        """The answer when it is there. Raises what the flight failed with."""
        twin: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._twins.append(twin)
        return await twin

    def land(self, answer: Answer) -> None:
        """Tell the twins the answer."""
        for twin in self._twins:
            if not twin.done():
                twin.set_result(answer)

    def fail(self, error: BaseException) -> None:
        """Tell the twins why there is none. Who was cancelled must not take the answer from the others."""
        if not isinstance(error, Exception):
            error = DecideAgainError("whoever asked first went away")
        for twin in self._twins:
            if not twin.done():
                twin.set_exception(error)
