"""What every test shares: the lab, the hypothesis profiles, and the rule about skips.

Invariants: under CI=true nothing is skipped silently: a test that could not
run there counts as failed. No test goes on for ever, however it was started.
Nothing is tried again but a promise of time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, settings

from tests.lab import Lab
from tests.lab.lab import open_labs
from tests.lab.needs import require_lab
from tests.lab.traces import traces
from tests.lab.waiting import TooSlowError

_TRIES = 3
_LONG_ID = 12
_LIMIT_S = 400.0  # a quarter of a minute at most on a machine that has nothing else to do
_IN_CI = os.environ.get("CI", "").lower() in ("true", "1")
_too_slow = pytest.StashKey[str]()
_wrong = pytest.StashKey[bool]()
_CALM = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)

# No deadline: on a busy machine it finds slow neighbours, not slow code.
settings.register_profile("fast", max_examples=50, deadline=None, suppress_health_check=_CALM)
settings.register_profile("deep", max_examples=5000, deadline=None, suppress_health_check=_CALM)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts so what is to run in the background, and every program begun here would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """As pytest's own; but what was too slow is tried again, with new fixtures, and a warning says so.

    Not where anything else was wrong as well, in the test or at its end: that may never come again.
    """
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for _ in range(_TRIES):
        item.stash[_too_slow], item.stash[_wrong] = "", False
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        if not item.stash[_too_slow] or item.stash[_wrong]:
            break
        item.warn(pytest.PytestWarning(f"too slow: {item.stash[_too_slow]}"))
        # A module's figures are measured anew as well.
        end = pytest.CallInfo.from_call(lambda: item.session._setupstate.teardown_exact(None), "teardown")
        if end.excinfo is not None:
            reports.append(item.ihook.pytest_runtest_makereport(item=item, call=end))
            break
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    with _limited(item):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    with _limited(item):
        yield


@contextmanager
def _limited(item: pytest.Item) -> Iterator[None]:
    """A failure with its place instead of a run that is ended from outside, and says nothing."""
    if item.get_closest_marker("slow") is not None:
        yield
        return
    before = signal.signal(signal.SIGALRM, _took_too_long)
    signal.setitimer(signal.ITIMER_REAL, _LIMIT_S, 5)  # again and again: a loop may have caught the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _took_too_long(number: int, frame: object) -> None:
    pytest.fail(f"not done within {_LIMIT_S:.0f} s")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skip is a failure in CI; an expected failure (xfail) stays what it is.

    With a failure comes what the labs' servers and agents have logged: it may never come again.
    """
    report = yield
    if report.failed and call.excinfo is not None:
        if _is_too_slow(call.excinfo.value):
            item.stash[_too_slow] = str(call.excinfo.value)
        else:
            item.stash[_wrong] = True
    if report.failed:
        for built in open_labs:
            report.sections += traces(built.directory)
    if _IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI=true: {report.longrepr}"
    return report


def _is_too_slow(error: BaseException) -> bool:
    """Whether it is that alone, and not the end of what had failed already."""
    return isinstance(error, TooSlowError) and (error.__context__ is None or _is_too_slow(error.__context__))


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


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A packet is no name for a test: with an id drawn at random each worker would have another."""
    return argname if isinstance(val, bytes) and len(val) > _LONG_ID else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Whatever lies in tests/netns is a netns test, and runs after the quick ones.

    Not so side by side (`-n`): there what takes long begins first, or one worker has it left at the end.
    """
    side_by_side = hasattr(config, "workerinput")
    for item in items:
        if "netns" in item.path.parts:
            item.add_marker("netns")
    items.sort(key=lambda item: (item.get_closest_marker("netns") is not None) is not side_by_side)


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
