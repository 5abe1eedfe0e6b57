"""The loop's selector, which serves some sockets itself, before the loop and between its steps.

At 100 questions a second everything that a packet touches is cold, and asyncio's way from a
ready socket to its reader costs a fifth of the whole answer. So a socket that is `serve`d is read
inside `select`, before asyncio hears that anything is ready. And where many steps stand in a row,
each of them a fresh name's and 30 to 150 µs long, `attend` looks between them whether somebody
knocked: half a microsecond when nobody did.

Knows sockets and callables; must not know what is served. Invariants:
- Work runs where a callback of the loop could run as well, and no place that calls `attend` may be in the
  middle of something that such a callback must not see. In particular nothing between the kernel's
  acknowledgement and the ledger's commit, nor between the last look at the table and the reply.
- `select` serves each socket once and returns, whatever comes meanwhile: a flood holds up neither
  timers nor other sockets by more than one burst a turn.
- Work that fails is logged; the loop and the other sockets go on.
"""

from __future__ import annotations

import logging
import select
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

log = logging.getLogger(__name__)

_EVENTS = 16
Ready = list[tuple[selectors.SelectorKey, int]]


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
        self._work: dict[int, Callable[[], None]] = {}

    # ------------------------------------------------------------ what is served first

    def serve(self, sock: socket.socket, work: Callable[[], None]) -> None:
        """Call `work` whenever the socket can be read, until `dismiss`; once a turn, and in each `attend`."""
        number = sock.fileno()
        self._all.register(number, select.EPOLLIN)
        self._served.register(number, select.POLLIN)
        self._work[number] = work

    def dismiss(self, sock: socket.socket) -> None:
        """Serve it no longer, if it was; before it is closed."""
        number = sock.fileno()
        if self._work.pop(number, None) is not None:
            self._served.unregister(number)
            self._all.unregister(number)

    def attend(self) -> None:
        """Serve who waits right now, unless it was done a moment ago; for between two steps."""
        if time.monotonic() < self._next_look:
            return
        for number, _ in self._served.poll(0):
            work = self._work.get(number)
            if work is not None:
                self._serve(work)
        self._next_look = time.monotonic() + self._every_s

    def _serve(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            log.exception("serving a socket failed")

    # ------------------------------------------------------------ what asyncio asks of a selector

    def select(self, timeout: float | None = None) -> Ready:
        """See selectors; what is served is not in it."""
        ready: Ready = []
        for number, _ in self._all.poll(timeout, _EVENTS):
            work = self._work.get(number)
            if work is None:
                ready = self._others.select(0)
                continue
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
