"""The loop's selector, which serves some sockets itself, before the loop and between its steps.

At 100 questions a second everything that a packet touches is cold, and asyncio's way from a
ready socket to its reader costs a fifth of the whole answer. So a socket that is `serve`d is read
inside `select`, before asyncio hears that anything is ready. And where many steps stand in a row,
each of them a fresh name's and 30 to 150 µs long, `attend` looks between them whether somebody
knocked: half a microsecond when nobody did.

An upstream's answer is served in `select` alone, since many steps follow from it. These, and the first ones
of what was asked, come `soon`: still inside `select`, the loop's own way to them being as cold.

Knows sockets and callables; must not know what is served. Invariants:
- Work runs where a callback of the loop could run as well, and no place that calls `attend` may be in the
  middle of something that such a callback must not see. In particular nothing between the kernel's
  acknowledgement and the ledger's commit, nor between the last look at the table and the reply.
- `select` serves each socket once and returns, whatever comes meanwhile: a flood holds up neither
  timers nor other sockets by more than one burst a turn.
- Work that fails is logged; the loop and the other sockets go on.
"""

from __future__ import annotations

import asyncio
import logging
import select
import selectors
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

log = logging.getLogger(__name__)

_EVENTS = 16
Ready = list[tuple[selectors.SelectorKey, int]]


class Descriptor(Protocol):
    """A socket, or an epoll set of sockets."""

    def fileno(self) -> int: ...


class Attendant(selectors.BaseSelector):
    """Pass it to `asyncio.SelectorEventLoop`; what asyncio registers is in an epoll set inside of ours."""

    def __init__(self, every_s: float = 0.0002) -> None:
        """`attend` looks this often at most: each look makes bursts smaller, and so fresh names dearer."""
        self._every_s = every_s
        self._next_look = 0.0
        self._others = selectors.EpollSelector()
        self._all = select.epoll()
        self._all.register(self._others.fileno(), select.EPOLLIN)
        self._served = select.poll()
        self._selects = False
        self._then: list[Callable[[], None]] = []
        self._between: set[int] = set()
        self._work: dict[int, Callable[[], None]] = {}

    # ------------------------------------------------------------ what is served first

    def serve(self, what: Descriptor, work: Callable[[], None], *, between: bool = True) -> None:
        """Call `work` when it can be read, until `dismiss`: once a turn and, if `between`, in `attend`."""
        number = what.fileno()
        self._all.register(number, select.EPOLLIN)
        if between:
            self._served.register(number, select.POLLIN)
            self._between.add(number)
        self._work[number] = work

    def dismiss(self, what: Descriptor) -> None:
        """Serve it no longer, if it was; before it is closed."""
        number = what.fileno()
        if self._work.pop(number, None) is not None:
            self._all.unregister(number)
            if number in self._between:
                self._between.remove(number)
                self._served.unregister(number)

    def attend(self) -> None:
        """Serve who waits right now, unless it was done a moment ago; for between two steps."""
        if time.monotonic() < self._next_look:
            return
        for number, _ in self._served.poll(0):
            work = self._work.get(number)
            if work is not None:
                self._serve(work)
        self._next_look = time.monotonic() + self._every_s

    def soon(self, work: Callable[[], None]) -> None:
        """Call it at the end of `select`, when all have been served once; else in the loop's next turn."""
        if self._selects:
            self._then.append(work)
        else:
            asyncio.get_running_loop().call_soon(work)

    def _serve(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            log.exception("serving a socket, or what came of it, failed")

    # ------------------------------------------------------------ what asyncio asks of a selector

    def select(self, timeout: float | None = None) -> Ready:
        """See selectors; what is served is not in it."""
        ready: Ready = []
        knocking = self._all.poll(timeout, _EVENTS)
        self._selects = True
        try:
            for number, _ in knocking:
                work = self._work.get(number)
                if work is None:
                    ready = self._others.select(0)
                else:
                    self._serve(work)
        finally:
            self._selects = False
        then, self._then = self._then, []
        for work in then:
            self._serve(work)
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See selectors."""
        return self._others.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """See selectors."""
        return self._others.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See selectors."""
        return self._others.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """See selectors."""
        return self._others.get_map()

    def close(self) -> None:
        """See selectors."""
        self._work.clear()
        self._all.close()
        self._others.close()
