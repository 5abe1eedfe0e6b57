"""One thing that the doctor found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Level = Literal["ok", "info", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`level` "info" is neither good nor bad; `expected` and `todo` only where something is not right."""

    check: str
    level: Level
    found: str
    expected: str = ""
    todo: str = ""

    def as_json(self) -> dict[str, str]:
        """As in `doctor --json`."""
        return asdict(self)
