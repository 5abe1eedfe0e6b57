"""The soak, as short as it may be: every kind of fault once, under load, and nothing violated meanwhile.

Needs the lab. The long one is `python -m tests.soak`, which reports memory and descriptors as well.
"""

from __future__ import annotations

import pytest

from tests.lab import Lab
from tests.soak.faults import FAULTS
from tests.soak.run import soak

_RSS_MIB = 150


def _soak(lab: Lab, seconds: float, rate: float, *, short: bool) -> None:
    report = soak(lab, seconds=seconds, rate=rate, seed=20261122, short=short)
    print(report.text(30.0))
    assert report.violations == []
    assert report.tracebacks == []
    assert {one.kind for one in report.struck} == set(FAULTS) or not short
    assert report.before is not None
    assert report.after is not None
    assert report.after.descriptors <= report.before.descriptors
    assert max(sample.rss for sample in report.samples) < _RSS_MIB << 20
    # A soak in which little was asked, looked at or forbidden would prove nothing.
    outcomes = report.client["outcomes"]
    for kind in ("hot", "fresh", "both", "alias", "target", "extra"):
        assert outcomes[f"{kind} answered"] > 0, outcomes
    assert outcomes["denied rcode 3"] > 0
    assert report.client["looked"] > 500
    assert report.leases_looked_at > 500
    assert report.forbidden_tries > 100


def test_soak_with_every_kind_of_fault_violates_nothing(lab: Lab) -> None:
    _soak(lab, 0.0, 300, short=True)


@pytest.mark.slow
def test_soak_of_two_minutes_violates_nothing(lab: Lab) -> None:
    _soak(lab, 120.0, 1000, short=False)
