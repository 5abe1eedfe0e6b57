"""What is too slow is tried again, with fixtures of its own; what is wrong fails at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.needs import ROOT
from tests.lab.waiting import TooSlowError, in_time

TESTS = """
import pytest
from tests.lab.waiting import in_time

tries = []

@pytest.fixture(scope="module")
def measured():
    tries.append("measured")
    return 3.0 - len(tries)

def test_slow_at_first(measured):
    in_time(measured, 1.5)

def test_always_slow():
    tries.append("slow")
    in_time(2.0, 1.0)

def test_wrong():
    tries.append("wrong")
    assert False

@pytest.fixture
def ending_late():
    yield
    in_time(2.0, 1.0)

def test_wrong_and_its_end_late(ending_late):
    tries.append("late")
    assert tries.count("late") > 1

@pytest.fixture
def ending_wrong():
    yield
    assert tries.count("ending") > 1

def test_late_and_its_end_wrong(ending_wrong):
    tries.append("ending")
    in_time(2.0, 1.0)

def test_wrong_and_late_after_it():
    tries.append("after")
    try:
        assert tries.count("after") > 1
    finally:
        in_time(2.0, 1.0)

def test_tries():
    assert tries == ["measured"] * 2 + ["slow"] * 3 + ["wrong", "late", "ending", "after"]
"""

ENDING_WRONG = """
import pytest
from tests.lab.waiting import in_time

@pytest.fixture(scope="module")
def shared():
    yield
    assert False, "only at the end of the module"

def test_late(shared):
    in_time(2.0, 1.0)

def test_after(): pass
"""


def run(tmp_path: Path, tests: str) -> str:
    """What pytest says of them under our rules."""
    (tmp_path / "test_it.py").write_text(tests)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.conftest",
        "-q",
        "-rA",
        str(tmp_path / "test_it.py"),
    ]
    return subprocess.run(
        [*command, "--rootdir", str(tmp_path), "-c", "/dev/null"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    ).stdout


def test_end_of_a_module_that_goes_wrong_before_another_try_is_told_and_the_rest_runs(tmp_path: Path) -> None:
    ran = run(tmp_path, ENDING_WRONG)
    assert "only at the end of the module" in ran
    assert "1 failed, 1 passed" in ran
    assert "1 error" in ran


def test_too_slow_test_is_tried_three_times_and_no_other(tmp_path: Path) -> None:
    ran = run(tmp_path, TESTS)
    found = {
        line.split("::")[1].split(" ")[0]: line.split(" ")[0]
        for line in ran.splitlines()
        if line.startswith(("PASSED", "FAILED"))
    }
    assert found == {
        "test_slow_at_first": "PASSED",
        "test_always_slow": "FAILED",
        "test_wrong": "FAILED",
        "test_wrong_and_its_end_late": "FAILED",
        "test_late_and_its_end_wrong": "FAILED",
        "test_wrong_and_late_after_it": "FAILED",
        "test_tries": "PASSED",
    }, ran
    assert "PytestWarning: too slow: it took 2.000 s, of at most 1.5" in ran


def test_in_time_at_the_limit_passes_and_beyond_it_raises() -> None:
    in_time(1.0, 1.0)
    with pytest.raises(TooSlowError, match=r"the end took 1\.001 s, of at most 1"):
        in_time(1.001, 1.0, "the end")
