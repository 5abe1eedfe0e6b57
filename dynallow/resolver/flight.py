"""One fresh answer on its way, and those who wait for the same.

A thousand clients that ask the same at once cost one upstream query and one
transaction. Must not know how an answer is made. Invariant: whoever joined is
told something, however the flight ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from dynallow.errors import DecideAgainError
from dynallow.resolver.answer import Answer


class Flight:
    """Flown by the question that came first; its twins join."""

    __slots__ = ("_twins",)

    def __init__(self) -> None:
        self._twins: list[asyncio.Future[Answer]] = []

    async def fly(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Do the work, and tell the twins how it ended."""
        try:
            answer = await work
        except Exception as error:
            self._fail(error)
            raise
        except BaseException:
            # Cancelled: who goes away must not take the answer from the others.
            self._fail(DecideAgainError("whoever asked first went away"))
            raise
        for twin in self._twins:
            if not twin.done():
                twin.set_result(answer)
        return answer

    async def join(self) -> Answer:
        """The answer when it is there. Raises what the flight failed with."""
        twin: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._twins.append(twin)
        return await twin

    def _fail(self, error: Exception) -> None:
        for twin in self._twins:
            if not twin.done():
                twin.set_exception(error)
