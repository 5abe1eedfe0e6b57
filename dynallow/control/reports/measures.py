"""Metrics of the road's steps, of answers by rule, and of what was denied.

Labels are rules, words of ours and uids, all of them bounded: never a name from the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dynallow.control.metrics import Buckets, Family, Histogram
from dynallow.control.reports.source import Source
from dynallow.resolver.steps import BOUNDS, EVERY, Step, Steps
from dynallow.usage.totals import Totals

_STEPS = ("decide", "upstream", "compose", "kernel", "reply", "whole")


def road_families(agent: Source) -> Iterator[Family | Histogram]:
    """How long answers take, and where they come from."""
    steps = agent.road.steps
    rules = [rule.name for rule in agent.settings.rules]
    yield Histogram(
        "dynallow_step_seconds",
        f"Time that a step of the road takes; one in {EVERY} is measured.",
        tuple(({"step": name}, _buckets(getattr(steps, name))) for name in _STEPS),
    )
    yield Family(
        "dynallow_answers_total",
        "Answers by verdict, rule and where they came from; hot ones without their rule.",
        "counter",
        tuple(_answers(steps, rules, agent.road.counts.hot)),
    )
    yield Family(
        "dynallow_trimmed_total",
        "Addresses left out of answers because a budget was used up.",
        "counter",
        tuple(({"rule": rule}, float(steps.trimmed.get(rule, 0))) for rule in rules),
    )


def denial_families(totals: Totals) -> Iterator[Family]:
    """What was denied, or would have been, by whom."""
    counted = totals.read()
    yield Family(
        "dynallow_denials_total",
        "Questions and flows that were denied (mode observe: that enforce would have denied).",
        "counter",
        tuple((labels._asdict(), float(count)) for labels, count in counted.items()),
    )


def _buckets(step: Step) -> Buckets:
    return Buckets(BOUNDS, tuple(step.buckets), step.seconds)


def _answers(steps: Steps, rules: Sequence[str], hot: int) -> Iterator[tuple[dict[str, str], float]]:
    yield _labels("allowed", "", "hot"), float(hot)
    known = {"", *rules}
    for verdict, told in (
        ("allowed", steps.allowed),
        ("denied", steps.denied),
        ("filtered", steps.filtered),
    ):
        for (rule, source), count in told.copy().items():
            if rule in known:
                yield _labels(verdict, rule, source), float(count)


def _labels(verdict: str, rule: str, source: str) -> dict[str, str]:
    return {"verdict": verdict, "rule": rule, "source": source}
