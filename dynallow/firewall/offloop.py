"""pyroute2's plain API from inside a running loop.

Since 0.9 it runs a loop of its own and refuses to be called where one runs
already; a short-lived thread has none. For start, reload and people's
questions only, where the quarter of a second it takes to import does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def off_loop(work: Callable[[], T]) -> T:
    """The result of `work`, run in a thread of its own; waits for it."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(work).result()
