"""Leases by columns are the same leases: in their order, as JSON, one at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.cli.leases import by_columns, gathered
from dynallow.cli.leaseview import lease_table
from dynallow.cli.output import Table, plain, print_json
from dynallow.control.schema import LeaseReport
from dynallow.errors import ControlError

_COUNT = st.integers(0, 2**64 - 1)
_LEASES = st.lists(
    st.builds(
        LeaseReport,
        address=st.ip_addresses().map(str),
        name=st.text(),
        expires_in_s=st.integers(0, 10).map(lambda left: left / 4) | st.floats(0, 1e6),
        packets=_COUNT,
        bytes=_COUNT,
    )
)


@given(_LEASES)
def test_leases_by_columns_are_each_of_them_and_slices_of_them(leases: list[LeaseReport]) -> None:
    held: Sequence[LeaseReport] = by_columns(leases)
    assert list(held) == leases
    assert (held[1:3], held[-2:], held[:]) == (leases[1:3], leases[-2:], leases)
    assert by_columns(held) is held


@given(_LEASES)
def test_sorted_leases_have_the_longest_first_and_equal_ones_as_they_came(leases: list[LeaseReport]) -> None:
    held = by_columns(leases)
    held.sort()
    assert list(held) == sorted(leases, key=lambda lease: lease["expires_in_s"], reverse=True)


@given(_LEASES.filter(bool))
def test_printed_leases_are_printed_as_a_list_of_them_is(leases: list[LeaseReport]) -> None:
    def printed(held: Sequence[LeaseReport]) -> str:
        written = StringIO()
        with redirect_stdout(written):
            print_json({"rules": [{"rule": "a", "ports": ["tcp/443"], "leases": held}]})
        return written.getvalue()

    assert printed(by_columns(leases)) == printed(leases)


@given(_LEASES.filter(bool))
def test_table_of_sorted_leases_has_their_rows_in_that_order(leases: list[LeaseReport]) -> None:
    held = by_columns(leases)
    held.sort()
    alone = [by_columns([lease]) for lease in held]
    rows = [tuple(column[0] for column in lease_table(lease).columns) for lease in alone]
    table = lease_table(held)
    assert list(plain([table])) == list(plain([Table(table.headings, rows, table.right)]))


def test_leases_of_lines_go_to_their_rules_in_order_and_others_stay() -> None:
    lease = {"address": "192.0.2.9", "name": "c", "expires_in_s": 1.0, "packets": 0, "bytes": 0}
    rules: list[dict[str, Any]] = [{"rule": name, "leases": []} for name in ("a", "b")]
    rules.append({"rule": "c", "leases": [lease]})
    lines = [line("a", 1, 2), line("b", 3), line("a", 4), {"rules": rules}]
    report = gathered(json.loads(json.dumps(each)) for each in lines)
    assert [[lease["address"] for lease in rule["leases"]] for rule in report["rules"]] == [
        ["192.0.2.1", "192.0.2.2", "192.0.2.4"],
        ["192.0.2.3"],
        ["192.0.2.9"],
    ]
    assert report["rules"][0]["leases"][1]["expires_in_s"] == 0.002


def line(rule: str, *numbers: int) -> dict[str, Any]:
    """A line of leases, each with its number."""
    zeros = [0] * len(numbers)
    columns = {"address": [f"192.0.2.{number}" for number in numbers], "name": ["n"] * len(numbers)}
    return {
        "rule": rule,
        "leases": {**columns, "expires_in_ms": list(numbers), "packets": zeros, "bytes": zeros},
    }


@pytest.mark.parametrize("lines", [[], [line("a", 1)]], ids=["nothing", "leases alone"])
def test_lines_without_a_report_are_no_answer(lines: list[dict[str, Any]]) -> None:
    with pytest.raises(ControlError, match="no report"):
        gathered(lines)


def _shorter() -> dict[str, Any]:
    short = line("a", 1, 2)
    short["leases"]["name"].pop()
    return short


@pytest.mark.parametrize(
    "lines",
    [
        [{}],
        [{"rules": None}],
        [line("a", 1), {"rules": [{}]}],
        [{"leases": None, "rule": "a"}],
        [_shorter(), {"rules": []}],
    ],
    ids=["empty", "no rules", "no name", "no columns", "columns of two lengths"],
)
def test_lines_of_another_shape_are_told_as_the_agents_fault(lines: list[dict[str, Any]]) -> None:
    with pytest.raises(ControlError, match="no status"):
        gathered(lines)
