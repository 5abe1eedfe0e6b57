"""What the control API answers about mode `enforce` before it begins, as types (see `schema.py`).

Knows names and types only, and imports nothing of the house but these, as `schema.py`.
"""

from __future__ import annotations

from typing import Literal, TypedDict

from dynallow.control.schema import Mode


class WouldBeDenied(TypedDict):
    """What one process of one user wanted of one name, or of an address that no name gave."""

    id: str
    user: int | None
    unit: str
    process: str
    name: str
    address: str
    ports: list[str]
    why: str
    count: int
    first: str
    last: str


class ReadinessReport(TypedDict):
    """`GET /v1/readiness?since=SECONDS`: what the settings in force would deny of what was recorded.

    `denied` holds the most frequent ones and `more` says how many others there are; `denials` counts all.
    `bypasses` is DNS past dynallow. `meant` counts what a rule excepts or has expired for, `harmless` what
    nobody waits for (search lists, reverse names, types that come back empty). `untold` as of HistoryReport.
    """

    verdict: Literal["ready", "not-yet", "too-little-seen", "unknown"]
    text: str
    mode: Mode
    since: str
    until: str
    observed_s: float
    denials: int
    denied: list[WouldBeDenied]
    more: int
    newest: str | None
    bypasses: list[WouldBeDenied]
    meant: int
    harmless: int
    untold: dict[str, int]
