"""Waiting for a condition instead of sleeping for luck.

Knows nothing of the lab. Invariant: returns as soon as the condition holds,
and a deadline that passes is an error that says what was awaited. Promises of
time are told apart from all others: only they may fail for want of a processor.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class LabError(Exception):
    """The lab itself failed: neither the product's fault nor a test's."""


class TooSlowError(AssertionError):
    """Something took longer than it may: the product, or a machine that was taken away for a while.

    Only another try can tell, so a test that fails with this is run again (conftest.py).
    """


class CaptureError(LabError, TooSlowError):
    """Packets were lost on the way to the sniffer: the machine had no time for it."""


def in_time(took_s: float, within_s: float, what: str = "it") -> None:
    """Fail with TooSlowError unless it took at most so long."""
    if took_s > within_s:
        raise TooSlowError(f"{what} took {took_s:.3f} s, of at most {within_s:g}")


def wait_until(condition: Callable[[], T], what: str, within_s: float = 60.0) -> T:
    """The first true value of `condition`, asked every few milliseconds."""
    deadline = time.monotonic() + within_s
    pause_s = 0.001
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {within_s:g} s")
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.05)
    return value
