"""Metrics of the road's steps, of answers by rule, and of what was denied.

Labels are rules, words of ours and uids, all of them bounded: never a name from the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dynallow.control.metrics import Buckets, Family, Histogram
from dynallow.control.reports.source import Source
from dynallow.resolver.steps import BOUNDS, EVERY, SOURCES, Step, Steps
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
    yield Family(
        "dynallow_denials_total",
        "Questions and flows that were denied (mode observe: that enforce would have denied).",
        "counter",
        tuple((labels._asdict(), float(count)) for labels, count in totals.denied().items()),
    )
    yield Family(
        "dynallow_flows_total",
        "Flows by the rule or destination that allowed them; none where that is not known.",
        "counter",
        tuple(({"rule": rule}, float(count)) for rule, count in totals.used().items()),
    )


def _buckets(step: Step) -> Buckets:
    return Buckets(BOUNDS, tuple(step.buckets), step.seconds)


def _answers(steps: Steps, rules: Sequence[str], hot: int) -> Iterator[tuple[dict[str, str], float]]:
    yield _labels("allowed", "", "hot"), float(hot)
    # From the first scrape on, so that no first question is lost to whoever looks at increases.
    never = {(rule, source): 0 for rule in rules for source in SOURCES}
    for verdict, told in (
        ("allowed", never | steps.allowed()),
        ("denied", steps.denied.copy()),
        ("filtered", steps.filtered.copy()),
    ):
        for (rule, source), count in told.items():
            if rule in rules or not rule:
                yield _labels(verdict, rule, source), float(count)


def _labels(verdict: str, rule: str, source: str) -> dict[str, str]:
    return {"verdict": verdict, "rule": rule, "source": source}
