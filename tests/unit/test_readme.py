"""The README says what the program does: its tables are checked against the code.

Invariant: a setting, a verb or an invariant's test that changes its name
without the README following fails here.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dynallow.cli.main import VERBS
from dynallow.settings import settings_table

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def _rows(number: str) -> list[str]:
    return [line for line in README.splitlines() if line.startswith(f"| {number} | **")]


def test_readme_settings_table_is_the_one_that_the_model_renders() -> None:
    assert settings_table().strip() in README


def test_readme_verbs_are_those_of_the_program() -> None:
    named = set(re.findall(r"^\| `(\w+)", README, re.MULTILINE))
    assert set(VERBS) <= named


@pytest.mark.parametrize("number", [str(number) for number in range(1, 11)])
def test_readme_invariant_names_tests_that_exist(number: str) -> None:
    (row,) = _rows(number)
    tests = _TEST.findall(row)
    assert tests, f"invariant {number} names no test"
    for file, name in tests:
        assert f"def {name}(" in (ROOT / file).read_text(), f"{file} has no {name}"


def test_readme_has_no_gap_left() -> None:
    assert "@@" not in README
