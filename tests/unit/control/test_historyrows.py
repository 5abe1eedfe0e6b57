"""What the API says of the past reads back as the records that it was made of."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.control.encode import pieces
from dynallow.control.historyrows import History, parse_history
from dynallow.control.reports.history import history
from dynallow.usage.record import Record, Subject

text = st.text(max_size=8)
subject = st.builds(
    Subject,
    st.sampled_from(["question", "flow"]), st.sampled_from(["allowed", "denied", "filtered"]),
    st.sampled_from(["observe", "enforce"]), st.sampled_from(["", "derived", "not-listed", "no-name"]),
    text, text, text, text, text, st.none() | st.integers(0, 2**32 - 2), text, text,
)  # fmt: skip
moment = st.integers(0, 4_000_000_000).map(float)


class Past:
    def __init__(self, records: list[Record], begins: float | None) -> None:
        self._records, self._begins = records, begins

    def records(self, since: float, until: float | None = None) -> list[Record]:
        return self._records

    def untold(self, since: float, until: float | None = None) -> dict[str, int]:
        return {"packets": 3, "questions": 0}

    def begins(self) -> float | None:
        return self._begins


@given(st.lists(st.builds(Record, subject, st.integers(0, 2**40), moment, moment)), st.none() | moment)
def test_history_of_any_records_reads_back(records: list[Record], begins: float | None) -> None:
    report = history(Past(records, begins), 1000.0, 2000.0)
    read = parse_history(json.loads("".join(pieces(dict(report)))))
    assert read == History(records, 1000.0, 2000.0, begins, {"packets": 3, "questions": 0})


@pytest.mark.parametrize("report", [None, [], {}, {"rows": [1]}, {"rows": {}}, {"rows": [], "since": "now"}])
def test_history_that_is_none_is_refused(report: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_history(report)
