"""`denied` and `log` on the terminal: the totals, a line each, and nothing that a name can do to it."""

from __future__ import annotations

import json
from typing import Any

from dynallow.cli.denied import denied_blocks
from dynallow.cli.log import log_blocks
from dynallow.cli.output import plain
from dynallow.control.encode import pieces
from dynallow.control.reports import history
from dynallow.usage.lines import Line
from dynallow.usage.record import Record
from tests.unit.control.test_past import PAST, Remembered
from tests.unit.sight.subjects import MINUTE, question


def told(past: Remembered = PAST, by: Any = None, limit: int = 100, mode: Any = "enforce") -> list[str]:
    report: Any = history.denied(past, MINUTE - 60.0, MINUTE + 3540.0, mode, 4, by, limit)
    return list(plain(denied_blocks(json.loads("".join(pieces(report))), 3600.0, by)))


def test_denied_begins_with_exact_totals_and_says_what_is_left_out() -> None:
    lines = told(limit=2)
    assert lines[0] == (
        "last 1h: 14 questions, 8 packets denied, 0 questions, 3 packets of them only observed; "
        "4 packets since the table was made"
    )
    assert lines[1] == ("7 questions, 5 packets of them came too fast to be told apart, and are in no line")
    assert lines[2].startswith("recorded since ")
    assert lines[-1] == "and 1 line more: --limit, or --by"


def test_denied_in_mode_observe_says_that_it_would_be() -> None:
    assert "would be denied (mode observe: they went through)" in told(mode="observe")[0]


def test_denied_lines_have_sign_reason_and_nearest_rule() -> None:
    heading, *rows = [line.split() for line in told()[4:]]
    assert heading == ["line", "what", "why", "user", "process", "unit", "count", "first", "last"]
    assert rows[0][1:4] == ["A", "a.example", "not-listed"]
    flow = next(row for row in rows if "tcp/80" in row)
    assert flow[1:6] == ["tcp/80", "192.0.2.1", "port", "[web]", "(observed)"]
    assert all(row[0].startswith("@") for row in rows)


def test_denied_by_rule_tells_sums() -> None:
    assert any(line.split()[:4] == ["web", "(port)", "3", "0"] for line in told(by="rule"))


def test_hostile_process_name_cannot_move_the_cursor() -> None:
    odd = question()._replace(process="\x1b[2Jcurl", unit="a\nb")
    lines = told(Remembered(Record(odd, 1, MINUTE, MINUTE)))
    assert any("\\x1b[2Jcurl" in line and "a\\nb" in line for line in lines)
    assert all(line.isprintable() for line in lines)
    line = history.log_line(Line(MINUTE, "question", "denied", "enforce", name="x", process="\x1b[2J\n"))
    (shown,) = plain(log_blocks([line], 3600.0))
    assert shown.isprintable()
    assert "\\x1b[2J\\n" in shown
