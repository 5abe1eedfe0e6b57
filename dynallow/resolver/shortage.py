"""When no descriptor is left to take a client with: counted, and said once a minute instead of with a trace.

Knows asyncio's word for it; must not know who listens. Keeps: whatever else the loop reports is told as
ever. Who cannot be taken waits in the kernel's line, and asyncio looks again after a second.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from typing import Any

from dynallow.resolver.counts import Counts

log = logging.getLogger(__name__)

_SAY_EVERY_S = 60.0
_SHORT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Shortage:
    """A loop's exception handler."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._next = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in _SHORT_OF and "accept" in context["message"]):
            loop.default_exception_handler(context)
            return
        self._counts.tcp_kept_waiting += 1
        if (now := loop.time()) >= self._next:
            self._next = now + _SAY_EVERY_S
            log.error("a client cannot be taken and waits: %s (LimitNOFILE= of the service)", error.strerror)
