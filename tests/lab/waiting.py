"""Waiting for a condition instead of sleeping for luck.

Knows nothing of the lab. Invariant: returns as soon as the condition holds,
and a deadline that passes is an error that says what was awaited.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class LabError(Exception):
    """The lab itself failed: neither the product's fault nor a test's."""


def wait_until(condition: Callable[[], T], what: str, within_s: float = 10.0) -> T:
    """The first true value of `condition`, asked every few milliseconds."""
    deadline = time.monotonic() + within_s
    pause_s = 0.001
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {within_s:g} s")
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.05)
    return value
