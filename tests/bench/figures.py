"""From samples to tables and files. Pure but for writing the files.

Knows statistics; must not know servers, the lab or clocks. Ratios are of pairs:
both of the same round, minutes apart at most, so that a machine that is slower
today, or was for a while, does not look like a slower server.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import NamedTuple


class Sample(NamedTuple):
    """One server under one workload in one round."""

    turn: int
    server: str
    workload: str
    right: int
    wrong: int
    lost: int
    cpu_us: float
    """CPU microseconds for each right answer, user and kernel."""
    kernel_share: float
    per_s: float
    user_instructions: float | None
    kernel_instructions: float | None
    addresses: int = 0
    """How many addresses its right answers brought into a set."""
    latencies_s: tuple[float, ...] = ()


class Figure(NamedTuple):
    """One number of one round, of something that is no load."""

    turn: int
    subject: str
    what: str
    value: float
    unit: str


Value = Callable[[Sample], float]


class Spread(NamedTuple):
    """What several rounds gave."""

    least: float
    middle: float
    most: float


def spread(values: Sequence[float]) -> Spread | None:
    return Spread(min(values), median(values), max(values)) if values else None


def of(samples: Iterable[Sample], server: str, workload: str) -> list[Sample]:
    """The samples of one cell of the table, in the order of their rounds."""
    return [sample for sample in samples if sample.server == server and sample.workload == workload]


def ratios(samples: Sequence[Sample], server: str, measure: str, workload: str, value: Value) -> list[float]:
    """`server` ÷ `measure`, for every round that has both."""
    return paired(of(samples, server, workload), of(samples, measure, workload), value)


def quantile(values: Sequence[float], part: float) -> float:
    """The smallest value that `part` of all do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def show_spread(found: Spread | None, digits: int = 1, width: int = 8) -> str:
    """Three columns; dashes for none."""
    if found is None:
        return "–".rjust(width) * 3
    return "".join(f"{value:{width}.{digits}f}" for value in found)


def paired(over: Iterable[Sample], under: Iterable[Sample], value: Value) -> list[float]:
    """`over` ÷ `under`, for every round that has both."""
    base = {sample.turn: value(sample) for sample in under}
    return [value(sample) / base[sample.turn] for sample in over if base.get(sample.turn)]


def peers_table(samples: Sequence[Sample], measure: str) -> str:
    """One line for each workload and server."""
    titles = f"{'':6} {'':15}{'CPU µs a right answer':>24} {'× ' + measure:>24}{'':28}   instructions"
    columns = f"{'least':>8}{'median':>8}{'most':>8} {'least':>8}{'median':>8}{'most':>8}"
    lines = [
        titles,
        f"{'':6} {'server':15}{columns}{'a second':>10}{'lost':>6}{'wrong':>6}{'krnl':>6}   user + kernel",
    ]
    servers = list(dict.fromkeys(sample.server for sample in samples))
    for workload in dict.fromkeys(sample.workload for sample in samples):
        for server in servers:
            cell = of(samples, server, workload)
            if cell:
                pairs = ratios(samples, server, measure, workload, cpu_us)
                lines.append(f"{workload:6} {server:15}{_line(cell, pairs)}")
        lines.append("")
    return "\n".join(lines)


def cpu_us(sample: Sample) -> float:
    return sample.cpu_us


def _line(cell: Sequence[Sample], pairs: Sequence[float]) -> str:
    cost = show_spread(spread([sample.cpu_us for sample in cell]))
    ratio = show_spread(spread(pairs), digits=2)
    rate = median(sample.per_s for sample in cell)
    lost, wrong = sum(sample.lost for sample in cell), sum(sample.wrong for sample in cell)
    kernel = median(sample.kernel_share for sample in cell)
    return f"{cost} {ratio}{rate:10,.0f}{lost:6}{wrong:6}{kernel:6.0%}   {_instructions(cell)}"


def _instructions(cell: Sequence[Sample]) -> str:
    user = [s.user_instructions for s in cell if s.user_instructions is not None]
    kernel = [s.kernel_instructions for s in cell if s.kernel_instructions is not None]
    return f"{median(user):,.0f} + {median(kernel):,.0f}" if user and kernel else "–"


def latency_table(samples: Sequence[Sample], measure: str) -> str:
    """Median and 99th percentile, each with its ratio by pairs."""
    columns = f"{'ms: least  median    most':>24} {'× ' + measure:>24}{'answers':>9}{'lost':>6}"
    lines = [f"{'':6} {'server':15}{'':7}{columns}"]
    servers = list(dict.fromkeys(sample.server for sample in samples))
    for workload in dict.fromkeys(sample.workload for sample in samples):
        for label, value in (("median", latency_ms(0.5)), ("p99", latency_ms(0.99))):
            for server in servers:
                cell = of(samples, server, workload)
                if cell:
                    taken = show_spread(spread([value(sample) for sample in cell]), digits=2)
                    pairs = show_spread(spread(ratios(samples, server, measure, workload, value)), digits=2)
                    right, lost = sum(s.right for s in cell), sum(s.lost + s.wrong for s in cell)
                    lines.append(f"{workload:6} {server:15}{label:7}{taken} {pairs}{right:9,}{lost:6}")
            lines.append("")
    return "\n".join(lines)


def mixed_table(samples: Sequence[Sample], measure: str) -> str:
    """Latency of the hot ones: alone, in the mix, mix ÷ alone by pairs, and the mix beside `measure`."""
    titles = ("ms alone: least…most", "ms in the mix", "mix × alone", f"mix × {measure}")
    columns = " ".join(f"{title:>24}" for title in titles)
    lines = [f"{'server':16}{'':7}{columns}{'lost':>6}{'wrong':>6}"]
    for label, value in (("median", latency_ms(0.5)), ("p99", latency_ms(0.99))):
        for server in dict.fromkeys(sample.server for sample in samples):
            alone, mix = of(samples, server, "alone"), of(samples, server, "mix")
            cells = [
                show_spread(spread([value(sample) for sample in alone]), digits=2),
                show_spread(spread([value(sample) for sample in mix]), digits=2),
                show_spread(spread(paired(mix, alone, value)), digits=2),
                show_spread(spread(ratios(samples, server, measure, "mix", value)), digits=2),
            ]
            lost, wrong = sum(s.lost for s in alone + mix), sum(s.wrong for s in alone + mix)
            lines.append(f"{server:16}{label:7}{' '.join(cells)}{lost:6}{wrong:6}")
        lines.append("")
    return "\n".join(lines)


def figures_table(figures: Sequence[Figure], targets: Mapping[str, str] = MappingProxyType({})) -> str:
    """One line for each subject and what was measured of it; `targets` are told beside them by `what`."""
    what_width = max((len(figure.what) for figure in figures), default=0) + 2
    width = max((len(figure.subject) for figure in figures), default=0) + 2
    lines = [f"{'':{width + what_width}}{'least':>10}{'median':>10}{'most':>10}"]
    for subject, what, unit in dict.fromkeys((f.subject, f.what, f.unit) for f in figures):
        values = [f.value for f in figures if (f.subject, f.what) == (subject, what)]
        columns = "".join(f"{value:10,.{_digits(value)}f}" for value in spread(values) or ())
        goal = f"   target: {targets[what]}" if what in targets else ""
        lines.append(f"{subject:{width}}{what:{what_width}}{columns} {unit}{goal}")
    return "\n".join(lines)


def _digits(value: float) -> int:
    """As many as make three figures of it."""
    return 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 3


def latency_ms(part: float) -> Value:
    """That quantile of a sample's latencies."""
    return lambda sample: quantile(sample.latencies_s, part) * 1e3


def write_json(file: Path, rows: Sequence[Sample | Figure]) -> None:
    """Every sample and figure, whole."""
    file.write_text(json.dumps([row._asdict() for row in rows], indent=1) + "\n")


def write_csv(file: Path, samples: Sequence[Sample]) -> None:
    """Every sample but for its single latencies."""
    fields = [field for field in Sample._fields if field != "latencies_s"]
    with file.open("w", newline="") as text:
        writer = csv.DictWriter(text, fields, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(sample._asdict() for sample in samples)
