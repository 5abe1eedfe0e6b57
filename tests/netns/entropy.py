"""How much a forger has to guess: the bits in ids, ports and the case of letters as they were sent. Pure.

Knows statistics alone. Bits are those of collision entropy (Rényi's second): how seldom two
draws are alike, which is what a forger's chance depends on; it is never above Shannon's.
A deviation is told in standard deviations from what fair draws give.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

IDS = 1 << 16
FIRST_PORT, PORTS = 1024, (1 << 16) - 1024
_CELLS = 64


class Measured(NamedTuple):
    """Of one series of pairs."""

    id_bits: float
    port_bits: float
    pairs_alike: int
    """Pairs of questions with the same id and port: about N²/2³³ of fair draws."""
    deviations: dict[str, float]

    @property
    def bits(self) -> float:
        """Of id and port together; good only if they do not depend on each other (`deviations`)."""
        return self.id_bits + self.port_bits

    @property
    def worst(self) -> float:
        return max(self.deviations.values())


def measure(pairs: Sequence[tuple[int, int]]) -> Measured:
    """Id and port of each question, in the order in which they were sent."""
    ids = [ident for ident, _ in pairs]
    ports = [port - FIRST_PORT for _, port in pairs]
    id_cells = [ident * _CELLS // IDS for ident in ids]
    port_cells = [port * _CELLS // PORTS for port in ports]
    low_bits = [(ident & 7) * 8 + (port & 7) for ident, port in zip(ids, ports, strict=True)]
    series = {
        "ids": id_cells,
        "ports": port_cells,
        "lowest bits": low_bits,
        "id to id": _steps(ids, IDS),
        "port to port": _steps(ports, PORTS),
        "id to next port": [a ^ b for a, (_, b) in zip(id_cells, pairwise(port_cells), strict=False)],
        "port to next id": [a ^ b for a, (_, b) in zip(port_cells, pairwise(id_cells), strict=False)],
        "id to its port": [a ^ b for a, b in zip(id_cells, port_cells, strict=True)],
    }
    return Measured(
        _bits(ids),
        _bits(ports),
        _alike(pairs),
        {name: _deviation(cells) for name, cells in series.items()},
    )


class Case(NamedTuple):
    """Of the case of one name's letters, sent again and again."""

    bits: float
    deviations: dict[str, float]

    @property
    def worst(self) -> float:
        return max(self.deviations.values())


def measure_case(names: Sequence[bytes], pairs: Sequence[tuple[int, int]]) -> Case:
    """`names` are one in wire form but for their case, in the order in which they were sent with `pairs`."""
    letters = [at for at, byte in enumerate(names[0]) if bytes((byte,)).isalpha()]
    cases = [sum((name[at] >> 5 & 1) << bit for bit, at in enumerate(letters)) for name in names]
    cells = [case % _CELLS for case in cases]
    series = {
        "letters": cells,
        "other letters": [(case >> 6) % _CELLS for case in cases],
        "case to case": [a ^ b for a, b in pairwise(cells)],
        "case to id": [a ^ (ident % _CELLS) for a, (ident, _) in zip(cells, pairs, strict=True)],
        "case to port": [a ^ (port % _CELLS) for a, (_, port) in zip(cells, pairs, strict=True)],
    }
    return Case(_bits(cases), {name: _deviation(each) for name, each in series.items()})


def _steps(values: Sequence[int], modulus: int) -> list[int]:
    """The cells of the differences between neighbours: a counter, or a walk, has few."""
    return [(after - before) % modulus * _CELLS // modulus for before, after in pairwise(values)]


def _deviation(cells: Sequence[int]) -> float:
    """How far chi-square is above what fair draws give, in its standard deviations."""
    expected = len(cells) / _CELLS
    found = Counter(cells)
    square = sum((found[cell] - expected) ** 2 / expected for cell in range(_CELLS))
    return (square - (_CELLS - 1)) / math.sqrt(2 * (_CELLS - 1))


def _alike(values: Iterable[object]) -> int:
    return sum(number * (number - 1) // 2 for number in Counter(values).values())


def _bits(values: Sequence[int]) -> float:
    return math.log2(len(values) * (len(values) - 1) / 2 / max(_alike(values), 1))
