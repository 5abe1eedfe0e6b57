"""What the control API answers about what happened, as types (`schema.py` says how values are spelled).

Knows names and types only, and imports nothing of the house, as `schema.py`.
"""

from __future__ import annotations

from typing import Literal, TypedDict

By = Literal["name", "destination", "user", "process", "rule"]


class HistoryRow(TypedDict):
    """`usage.record.Record`, flat, with its `ident`."""

    id: str
    kind: Literal["question", "flow"]
    decision: Literal["allowed", "denied", "filtered"]
    mode: Literal["observe", "enforce"]
    why: str
    name: str
    qtype: str
    address: str
    port: str
    rule: str
    user: int | None
    process: str
    unit: str
    count: int
    first: str
    last: str


class HistoryReport(TypedDict):
    """`GET /v1/history?since=SECONDS[&kind=][&decision=]`. `begins` is the oldest moment that is kept.

    `untold` counts what was denied and could not be told apart (a flood): packets and questions
    that are in no row.
    """

    since: str
    until: str
    begins: str | None
    untold: dict[str, int]
    rows: list[HistoryRow]


class TimelinePoint(TypedDict):
    """`at` is where the step begins."""

    at: str
    questions_allowed: int
    questions_denied: int
    flows_allowed: int
    flows_denied: int


class TimelineReport(TypedDict):
    """`GET /v1/timeline?since=SECONDS&step=SECONDS`: every step, also empty ones."""

    since: str
    until: str
    step_s: int
    points: list[TimelinePoint]
