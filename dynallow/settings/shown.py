"""How a fault shows the value that it found: as TOML writes it, on one line, cut short."""

from __future__ import annotations

import json
from datetime import date, time

_LONGEST = 80


def shown(value: object) -> str:
    """`value` for the "got …" of a fault; arrays and tables by their kind only."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "an array" if value else "an empty array"
    if isinstance(value, date | time):
        return value.isoformat()
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
