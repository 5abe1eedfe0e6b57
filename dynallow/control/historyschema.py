"""What the control API answers about what happened, as types (`schema.py` says how values are spelled).

Knows names and types only, and imports nothing of the house, as `schema.py`.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

Event = Literal["question", "answer", "flow", "mode", "reload", "start", "revoked", "left-out", "lost"]
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


class TimelineChange(TypedDict):
    """Something that the points may have changed by: `kind` is "start", "mode" or "reload"."""

    at: str
    kind: str
    mode: str
    text: str


class TimelineReport(TypedDict):
    """`GET /v1/timeline?since=SECONDS&step=SECONDS`: every step, also empty ones.

    `changes` are those in the window, the oldest first.
    """

    since: str
    until: str
    step_s: int
    points: list[TimelinePoint]
    changes: NotRequired[list[TimelineChange]]


class DeniedGroup(TypedDict):
    """What was denied and has `key` in common; `id` is the most frequent of them."""

    key: str
    count: int
    questions: int
    flows: int
    users: list[int]
    first: str
    last: str
    id: str


class DeniedReport(TypedDict):
    """`GET /v1/denied?since=SECONDS[&by=BY][&limit=N]`: the most frequent first.

    `rows` without `by`, `groups` with it; the other is empty. `total` is of the whole window, whatever
    `limit` left out, and has what `untold` counts; `observed` of it went through, because the mode was
    `observe` then. `denied_packets` is the kernel's counter since the table was made (null where it could not
    be read). `matched`: how many rows or groups there are.
    """

    mode: Literal["observe", "enforce"]
    since: str
    until: str
    begins: str | None
    total: dict[str, int]
    observed: dict[str, int]
    untold: dict[str, int]
    denied_packets: int | None
    matched: int
    rows: list[HistoryRow]
    groups: list[DeniedGroup]


class LogLine(TypedDict):
    """One line of `GET /v1/log`; what is unknown or has no meaning is empty. `text` is the line in words.

    Event "lost" counts, in `count`, lines that this reader was too slow for.
    """

    at: str
    event: Event
    decision: Literal["allowed", "denied", "filtered", ""]
    mode: Literal["observe", "enforce"]
    why: str
    name: str
    qtype: str
    addresses: list[str]
    port: str
    rule: str
    user: int | None
    process: str
    unit: str
    count: int
    lease_s: float | None
    id: str
    note: str
    text: str


class LogReport(TypedDict):
    """`GET /v1/log?since=SECONDS`: the lines that are kept, the oldest first.

    With `&follow=1` the answer is no object: it is a LogLine a line, those that are kept and then each as
    it happens, an empty line now and then, until the client goes.
    """

    since: str
    until: str
    lines: list[LogLine]
