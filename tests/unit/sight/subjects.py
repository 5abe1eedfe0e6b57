"""Records that the tests of `sight/` count with."""

from __future__ import annotations

from dynallow.usage.record import Record, Subject

MINUTE = 466_667 * 3600
"""A minute's first second, and an hour's."""


def question(name: str = "evil.example", decision: str = "denied") -> Subject:
    why = "" if decision == "allowed" else "not-listed"
    return Subject("question", decision, "enforce", why, name, "A", "", "", "", 1000, "curl", "")  # type: ignore[arg-type]


def record(name: str = "evil.example", times: int = 1, at: float = MINUTE + 5.0) -> Record:
    return Record(question(name), times, at, at)
