"""Prometheus exposition of plain values.

Knows the text format through prometheus-client. Must not know what is counted:
the agent hands over `Family` values. Keeps no state: every call renders a
registry of its own, so that nothing in the process is registered globally and
a label's value lives no longer than its sample (invariant 10: whoever grows a
label's values has the cap, not this file). The library is loaded at the first
scrape: 35 ms and 2 MiB that a start need not pay for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name with unit (a counter's ends in "_total"), help, kind, samples.

    Every sample of a family carries the same label names; ValueError otherwise.
    """

    name: str
    help: str
    kind: Literal["counter", "gauge"]
    samples: tuple[tuple[Mapping[str, str], float], ...]


class Buckets(NamedTuple):
    """What was measured: `counts[i]` at most `bounds[i]` and above the one before; the last is the rest."""

    bounds: Sequence[float]
    counts: Sequence[int]
    sum: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """One metric of measurements; rendered as `_bucket`, `_sum` and `_count`."""

    name: str
    help: str
    samples: tuple[tuple[Mapping[str, str], Buckets], ...]


class _Snapshot:
    def __init__(self, families: Iterable[Family | Histogram]) -> None:
        self._families = families

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        return map(_metric, self._families)


def _metric(
    family: Family | Histogram,
) -> CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily:
    if isinstance(family, Histogram):
        return _histogram(family)
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    names = tuple(family.samples[0][0]) if family.samples else ()
    make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = make(family.name, family.help, labels=names)
    for labels, value in family.samples:
        if labels.keys() != set(names):
            raise ValueError(f"{family.name}: expected labels {names}, got {tuple(labels)}")
        metric.add_metric([labels[name] for name in names], value)
    return metric


def _histogram(family: Histogram) -> HistogramMetricFamily:
    from prometheus_client.core import HistogramMetricFamily

    names = tuple(family.samples[0][0]) if family.samples else ()
    metric = HistogramMetricFamily(family.name, family.help, labels=names)
    for labels, (bounds, counts, total) in family.samples:
        edges = [*map(_edge, bounds), "+Inf"]
        buckets = list(zip(edges, accumulate(counts), strict=True))
        metric.add_metric([labels[name] for name in names], buckets, total)
    return metric


def _edge(bound: float) -> str:
    """As Prometheus itself writes it: "0.0001", never "1e-04", so that a query by `le` finds it."""
    return f"{bound:.9f}".rstrip("0").rstrip(".") if bound < 1 else repr(bound)


def render(families: Iterable[Family | Histogram]) -> bytes:
    """The families in Prometheus' text format, in the order given."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(families))
    return generate_latest(registry)
