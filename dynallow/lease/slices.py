"""A long list a slice at a time: whoever goes through it lets others have their turn between. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

_SLICE: Final = 200


def slices(keys: Iterable[bytes]) -> Iterator[list[bytes]]:
    """What `keys` held at the start, in slices."""
    held = list(keys)
    return (held[start : start + _SLICE] for start in range(0, len(held), _SLICE))
