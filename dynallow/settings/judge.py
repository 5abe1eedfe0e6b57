"""Judging the rest of a faulty rule or destination, so that one fault does not hide the next.

Knows which keys a table must have. Must not know what makes a value faulty: pydantic says so.
Keeps: what comes out is for finding more faults only; `load` never builds on it, since the
faults that led here make it refuse.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from pydantic import ValidationError

from dynallow.settings.model import Section

_STAND_INS: dict[str, Any] = {"name": "stand-in", "addresses": ["192.0.2.1"], "ports": ["tcp/443"]}
_STAND_IN_NAME = "stand-in.invalid"


def judge(model: type[Section], table: object) -> tuple[Section | None, Set[str]]:
    """The table as `model`, faulty values replaced or left out; with the keys that were faulty."""
    try:
        return model.model_validate(table), frozenset()
    except ValidationError as error:
        if not isinstance(table, dict):
            return None, frozenset()
        paths = [details["loc"] for details in error.errors(include_url=False)]
    faulty = frozenset(str(path[0]) for path in paths)
    repaired = {key: value for key, value in table.items() if key not in faulty}
    repaired |= {key: value for key, value in _STAND_INS.items() if key in faulty}
    if "names-from" in faulty:
        repaired.setdefault("names", [_STAND_IN_NAME])
    if "names" in faulty and isinstance(table["names"], list):
        # The good patterns keep their places, for the guard's faults to point at.
        bad = {path[1] for path in paths if path[0] == "names"}
        names = enumerate(table["names"])
        repaired["names"] = [_STAND_IN_NAME if place in bad else name for place, name in names]
    try:
        return model.model_validate(repaired), faulty
    except ValidationError:
        return None, faulty
