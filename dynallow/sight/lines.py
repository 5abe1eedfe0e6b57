"""Lines for those who watch: as they happen to followers and the journal, the last of them for the file.

Knows lines and who reads them; must not know what they say. In the loop's thread but for `pending`.
Keeps: no reader holds up another or the agent: each has a bounded row of its own, and is told how many lines
it has lost; no more than `RATE` a second become lines, and how many were left out is one (10).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from dynallow.usage.lines import Line

RATE: Final = 50
"""Lines a second, in the long run."""
BURST: Final = 500
FOLLOWERS_MAX: Final = 8
ROW_MAX: Final = 1000
"""Lines that wait for one follower."""
UNSAVED_MAX: Final = 2000


class TooManyError(Exception):
    """There are as many followers as there may be."""


class Follower:
    """One reader's row of lines."""

    def __init__(self, size: int = ROW_MAX) -> None:
        self._row: deque[Line] = deque()
        self._size = size
        self._lost = 0
        self._some = asyncio.Event()

    def put(self, lines: Iterable[Line]) -> None:
        """Where it has no room left, the oldest goes."""
        for line in lines:
            if len(self._row) >= self._size:
                self._row.popleft()
                self._lost += 1
            self._row.append(line)
        self._some.set()

    async def take(self, within_s: float) -> tuple[int, list[Line]]:
        """How many were lost, and those since the last time; none when so much time has passed."""
        if not self._row:
            try:
                async with asyncio.timeout(within_s):
                    await self._some.wait()
            except TimeoutError:
                pass
        self._some.clear()
        lost, self._lost = self._lost, 0
        lines = [*self._row]
        self._row.clear()
        return lost, lines


class Lines:
    """All of them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._followers: set[Follower] = set()
        self._unsaved: deque[Line] = deque(maxlen=UNSAVED_MAX)
        self._tokens, self._since = float(BURST), clock()
        self._left_out = 0

    @property
    def followed(self) -> bool:
        """Whether anybody waits for them."""
        return bool(self._followers)

    def add(self, lines: Iterable[Line], more: int = 0) -> list[Line]:
        """They have happened, and `more` that were left out already; what is let through of them."""
        now = self._clock()
        self._tokens = min(self._tokens + (now - self._since) * RATE, float(BURST))
        self._since = now
        let: list[Line] = []
        last: Line | None = None
        for line in lines:
            last = line
            if self._tokens >= 1.0:
                self._tokens -= 1.0
                if self._left_out:
                    let.append(self._admission(line))
                let.append(line)
            else:
                self._left_out += 1
        self._left_out += more
        if last is not None and self._left_out and self._tokens >= 1.0:
            let.append(self._admission(last))
        self._unsaved.extend(let)
        for follower in self._followers:
            follower.put(let)
        return let

    def _admission(self, line: Line) -> Line:
        count, self._left_out = self._left_out, 0
        return Line(line.at, "left-out", "", line.mode, note=f"{count} lines: there were too many")

    def follow(self) -> Follower:
        """A new reader. Raises TooManyError. `leave` when done."""
        if len(self._followers) >= FOLLOWERS_MAX:
            raise TooManyError
        follower = Follower()
        self._followers.add(follower)
        return follower

    def leave(self, follower: Follower) -> None:
        """It reads no more."""
        self._followers.discard(follower)

    def take_unsaved(self) -> list[Line]:
        """Those that are in no file yet; give back what could not be written."""
        lines = [*self._unsaved]
        self._unsaved.clear()
        return lines

    def give_back(self, lines: Iterable[Line]) -> None:
        """These were not written; the oldest are forgotten where there is no room."""
        self._unsaved.extendleft(reversed([*lines][-(UNSAVED_MAX - len(self._unsaved)) or None :]))

    def unsaved(self) -> list[Line]:
        """Those, to look at."""
        return [*self._unsaved]
