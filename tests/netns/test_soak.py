"""The soak, as short as it may be: every kind of fault once, under load, and nothing violated meanwhile.

Needs the lab. The long one is `python -m tests.soak`, which reports memory and descriptors as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.lab import Lab
from tests.lab.agent import OPENED_LATER, SHARED
from tests.lab.waiting import TooSlowError
from tests.soak.faults import FAULTS
from tests.soak.run import soak

_RSS_MIB = 150


def _soak(lab: Lab, seconds: float, rate: float, *, short: bool, options: Sequence[str] = ()) -> None:
    report = soak(lab, seconds=seconds, rate=rate, seed=20261122, short=short, options=options)
    print(report.text(30.0))
    assert report.violations == []
    assert report.tracebacks == []
    assert report.before is not None
    assert report.after is not None
    assert report.after.descriptors <= report.before.descriptors + OPENED_LATER
    assert max(sample.rss for sample in report.samples) < _RSS_MIB << 20
    # A soak in which little was asked, looked at or forbidden would prove nothing.
    outcomes = report.client["outcomes"]
    answered = [f"{kind} answered" for kind in ("hot", "fresh", "both", "alias", "target", "extra")]
    missing = [outcome for outcome in (*answered, "denied rcode 3") if not outcomes.get(outcome)]
    counted = (report.client["looked"], 500), (report.leases_looked_at, 500), (report.forbidden_tries, 100)
    missing += set(FAULTS) - {one.kind for one in report.struck} if short else ()
    if missing or report.unwell or any(count <= least for count, least in counted):
        raise TooSlowError(f"{report.unwell}, no time for {sorted(missing)}, looked {counted}")


def test_soak_with_every_kind_of_fault_violates_nothing(lab: Lab) -> None:
    _soak(lab, 0.0, 200, short=True)


@pytest.mark.slow
def test_soak_with_a_table_that_others_can_change_violates_nothing(lab: Lab) -> None:
    """But while it is taken away: then the host is open, and that is counted apart."""
    _soak(lab, 0.0, 200, short=True, options=SHARED)


@pytest.mark.slow
def test_soak_of_two_minutes_violates_nothing(lab: Lab) -> None:
    _soak(lab, 120.0, 1000, short=False)
