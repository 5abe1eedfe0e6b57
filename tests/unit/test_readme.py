"""The README says what the program does: its tables are checked against the code.

Invariant: a setting, a verb, or a test that stands for an invariant, a fault or an RFC,
that changes its name without the README following fails here; so does an RFC that
the resolver's code names and the README does not.
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from dynallow.cli.main import VERBS
from dynallow.firewall.leaser import Counts as Written
from dynallow.resolver.counts import Counts
from dynallow.settings import settings_table
from tests.lab.queries import alerts
from tests.netns.compared import EXPLAINED

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
_RFCS = README[README.index("## RFCs") : README.index("### Differences")]
_RESOLVER = [
    path for room in ("resolver", "wire", "policy") for path in (ROOT / "dynallow" / room).rglob("*.py")
]
_SECTION = README[README.index("### Faults") : README.index("## Settings\n")]
_FAULTS = [line for line in _SECTION.splitlines() if line.startswith("| ") and not line.startswith("| fault")]
_MUST_BE_TOLD = (  # DESIGN section 10, and issue 5
    *(
        "malformed",
        "EDNS",
        "denied name",
        "HTTPS and SVCB",
        "about to lapse",
        "forged",
        "silent",
        "TC=1",
        "lies",
    ),
    *(
        "1,000 addresses",
        "1,000 clients",
        "set full",
        "table changed",
        "settings broken",
        "killed",
        "TCP clients",
    ),
    *(
        "control socket",
        "no privilege",
        "ENOBUFS",
        "EMSGSIZE",
        "ERESTART",
        "acknowledgement lost",
        "disk full",
    ),
    *("no descriptors", "second instance", "a year off", "20 s"),
)
_NOT_FOLLOWED = {"952"}  # named to say so
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
    _names_tests_that_exist(row)


@pytest.mark.parametrize("row", re.findall(r"^\| RFC (\d.*)$", _RFCS, re.MULTILINE), ids=lambda row: row[:4])
def test_readme_rfc_names_tests_that_exist(row: str) -> None:
    _names_tests_that_exist(row)


@pytest.mark.parametrize("row", _FAULTS, ids=lambda row: row[:40].strip())
def test_readme_fault_names_tests_that_exist(row: str) -> None:
    _names_tests_that_exist(row)


def test_readme_has_every_fault_that_must_not_open_anything() -> None:
    faults = "\n".join(_FAULTS)
    for fault in _MUST_BE_TOLD:
        assert fault in faults, f"no row of {fault}"
    named = {field.name for field in fields(Counts)} | {field.name for field in fields(Written)}
    told = {
        one.strip()
        for many in re.findall(r"`(?:questions|kernel_writes)\{([\w, ]+)\}`", faults)
        for one in many.split(",")
    }
    assert told <= named


def test_readme_names_every_rfc_that_the_resolver_names() -> None:
    code = "".join(path.read_text() for path in _RESOLVER)
    # "RFC 1035, 6891 and 8906", also over a line's end
    lists = re.findall(r"RFC\s(\d{3,4}(?:(?:,| and|, and)\s\d{4})*)\b", code)
    named = {number for each in lists for number in re.findall(r"\d+", each)}
    assert len(named) > 20
    assert named - _NOT_FOLLOWED - set(re.findall(r"\b\d{4}\b", _RFCS)) == set()


def test_readme_differences_are_those_that_the_comparison_allows() -> None:
    rows = {f"| {kind} | {', '.join(sorted(one.fields))} | {one.reason} |" for kind, one in EXPLAINED.items()}
    section = README[README.index("### Differences") : README.index("## Limits")]
    assert {row for row in section.splitlines()[1:] if row.startswith("| ")} - rows == {
        "| kind of question | differs in | why |"
    }
    assert rows <= set(section.splitlines())


def _names_tests_that_exist(row: str) -> None:
    tests = _TEST.findall(row)
    assert tests, f"no test in {row}"
    for file, name in tests:
        assert f"def {name}(" in (ROOT / file).read_text(), f"{file} has no {name}"


def test_readme_alerts_are_those_of_the_rules() -> None:
    assert re.findall(r"^\| `(Dynallow\w+)` \|", README, re.MULTILINE) != []
    assert set(re.findall(r"^\| `(Dynallow\w+)` \|", README, re.MULTILINE)) == set(alerts())


def test_readme_metrics_are_those_that_the_code_names() -> None:
    """Their labels, and that they are exported: `tests/netns/test_metrics.py`."""
    reports = (ROOT / "dynallow/control/reports").glob("*.py")
    code = "".join(path.read_text() for path in reports)
    named = set(re.findall(r'"(dynallow_\w+)"', code))
    named |= {f"{name}_timestamp_seconds" for name in re.findall(r'_moment\(\s*"(dynallow_\w+)"', code)}
    told = set(re.findall(r"^\| `(dynallow_\w+)` \|", README, re.MULTILINE))
    assert told <= named
    assert {name for name in named if f"{name}_timestamp_seconds" not in named} <= told


def test_readme_has_no_gap_left() -> None:
    assert "@@" not in README
