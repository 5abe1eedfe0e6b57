"""What every test shares: the lab, the hypothesis profiles, and the rule about skips.

Invariant: under CI=true nothing is skipped silently: a test that could not
run there counts as failed.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.lab import Lab
from tests.lab.lab import open_labs
from tests.lab.needs import require_lab
from tests.lab.traces import traces

_IN_CI = os.environ.get("CI", "").lower() in ("true", "1")
_CALM = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)

# No deadline: on a busy machine it finds slow neighbours, not slow code.
settings.register_profile("fast", max_examples=50, deadline=None, suppress_health_check=_CALM)
settings.register_profile("deep", max_examples=5000, deadline=None, suppress_health_check=_CALM)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skip is a failure in CI; an expected failure (xfail) stays what it is.

    With a failure comes what the labs' servers and agents have logged: it may never come again.
    """
    report = yield
    if report.failed:
        for built in open_labs:
            report.sections += traces(built.directory)
    if _IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI=true: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole module that skips itself."""
    report = yield
    if _IN_CI and report.outcome == "skipped":
        report.outcome = "failed"
        report.longrepr = f"skipped under CI=true: {report.longrepr}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever lies in tests/netns is a netns test, and runs after the quick ones."""
    for item in items:
        if "netns" in item.path.parts:
            item.add_marker("netns")
    items.sort(key=lambda item: item.get_closest_marker("netns") is not None)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab of this test's own: the agent leaves its table behind on purpose, so none is shared."""
    require_lab()
    with Lab() as built:
        yield built


@pytest.fixture(scope="module")
def shared_lab() -> Iterator[Lab]:
    """One lab for a module whose tests only read, or clean up after themselves."""
    require_lab()
    with Lab() as built:
        yield built
