"""The page says what the reports say, whatever stands in them, and is HTML that any browser reads alike.

Invariant: no text of a report becomes a tag, an attribute, a comment or a control character.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.cli.page.page import page, step_of
from tests.unit.cli.page.reports import change, moment, read, ready_or_not, row, status, told

# What could break out of text, of an attribute, of style, of a comment or of a terminal.
_SPICE = st.sampled_from(
    [
        "<script>",
        "</style>",
        "</title>",
        "'",
        '"',
        "&",
        "&lt;",
        "-->",
        "<!--",
        "]]>",
        "\x1b[31m",
        "\u202e",
        "\ud800",
    ]
)
HOSTILE = st.lists(_SPICE | st.text(max_size=8), max_size=6).map("".join)


def lines(text: str) -> str:
    """Everything that is read on the page."""
    return " ".join(read(text).text)


@given(HOSTILE, HOSTILE, st.booleans())
def test_page_of_any_text_has_only_tags_and_attributes_of_ours(one: str, other: str, ready: bool) -> None:
    rows = [
        row(name=one, qtype=other, rule=one, process=one, unit=other, user=1, count=3),
        row("flow", address=one, port=other, name=one, rule=other, process=other, why=one),
        row("flow", "allowed", rule=f"{one},{other}"),
    ]
    observing = {**status(one), "mode": "observe" if ready else "enforce"}
    readiness = ready_or_not(one, other)
    text = page(told(rows, one, status=observing, readiness=readiness, user=lambda uid: other))
    reader = read(text)
    assert "script" not in reader.seen
    assert reader.seen.count("style") == reader.seen.count("h1") == 1
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\ud800-\udfff]", text)
    text.encode()  # can be written


def test_page_loads_nothing_and_runs_nothing() -> None:
    text = page(told([row(name="a.example")]))
    assert "default-src &#x27;none&#x27;" in text or "default-src 'none'" in text
    assert not re.search(r"https?:|//|@import|url\(|<script|<link|<img|\bon\w+=|javascript", text)


def test_page_tells_mode_policy_and_sums() -> None:
    told_text = lines(page(told([row()])))
    assert "enforce" in told_text
    assert "no. 2" in told_text
    assert "60 questions and 0 new connections were denied" in told_text


def test_page_of_what_was_observed_says_that_it_would_have_been_denied() -> None:
    observing = {**status(), "mode": "observe"}
    told_text = lines(page(told([row(mode="observe")], status=observing)))
    assert "would have been denied" in told_text
    assert "0 new connections were denied" not in told_text


def test_page_of_what_was_observed_tells_who_would_miss_what() -> None:
    observing = {**status(), "mode": "observe"}
    told_text = lines(page(told([], status=observing, readiness=ready_or_not("a.example", "curl"))))
    for part in (
        "Readiness to enforce",
        "not yet: ",
        "a.example tcp/443",
        "user-7, curl",
        "and 3 more",
        "5 denials",
    ):
        assert part in told_text
    assert "Readiness" not in lines(page(told([], readiness=ready_or_not("a.example", "curl"))))


def test_page_in_mode_enforce_says_how_many_denials_passed_before() -> None:
    assert "Of the denied, 3 were only observed" in lines(
        page(told([row(count=2), row(count=3, mode="observe")]))
    )


def test_page_lists_the_most_denied_and_sums_up_the_rest() -> None:
    rows = [row(name=f"n{number}.d{number}.example", count=100 - number) for number in range(14)]
    told_text = lines(page(told(rows)))
    assert "n9.d9.example" in told_text
    assert "n10.d10.example" not in told_text
    assert f"and 4 more, {90 + 89 + 88 + 87} times" in told_text


def test_page_tells_many_names_below_one_domain_as_one() -> None:
    rows = [row(name=f"{number:x}.exfil.example", count=2) for number in range(30)]
    told_text = lines(page(told([*rows, row(name="www.other.example")])))
    assert "*.exfil.example (30 names)" in told_text
    assert "www.other.example" in told_text


@pytest.mark.parametrize(
    ("untold", "begins", "says"),
    [
        ({"packets": 5000, "questions": 0}, timedelta(hours=9), "5,000 packets were denied and counted"),
        ({}, timedelta(minutes=20), "The history begins at"),
        ({}, None, "There is no history"),
    ],
)
def test_page_says_what_it_does_not_know(untold: dict[str, int], begins: timedelta | None, says: str) -> None:
    made = told([row()])
    history: Any = {**made.history, "untold": untold, "begins": None if begins is None else moment(begins)}
    told_text = lines(page(made._replace(history=history)))
    assert says in told_text
    assert "1,234 since the agent's start" in told_text


def test_timeline_of_what_nobody_remembers_is_shown_as_unknown() -> None:
    made = told([row()])
    history: Any = {**made.history, "begins": moment(timedelta(minutes=30))}
    assert 'class="unknown"' in page(made._replace(history=history))
    assert 'class="unknown"' not in page(made)


def test_rule_that_nobody_used_is_said_to_be_unused() -> None:
    unused = lines(page(told([])))
    assert "not in this window" in unused
    used = lines(
        page(
            told([row("question", "allowed", rule="web,other", count=7), row("flow", "allowed", rule="web")])
        )
    )
    assert "7 questions, 1 flows" in used
    assert "not in this window" not in used


def test_rule_without_owner_and_reason_is_marked() -> None:
    bare: Any = status()
    bare["rules"][0].update(owner="", reason="", expires="2026-11-01")
    text = page(told([], status=bare))
    assert '<span class="warn">nobody</span>' in text
    assert '<span class="bad"><span class="day">2026-11-01</span>, over</span>' in text


def test_page_of_an_agent_that_tells_neither_policy_nor_readiness_is_made_without() -> None:
    old: Any = status()
    del old["policy"]
    told_text = lines(page(told([], status=old)))
    assert "no. 2" not in told_text
    assert "Readiness" not in told_text


def test_changes_are_numbered_on_the_timeline_and_listed() -> None:
    made = told([])
    changes = [change(40, "rules added: web"), *(change(20 - number / 60) for number in range(4))]
    timeline: Any = {**made.timeline, "changes": changes}
    text = page(made._replace(timeline=timeline))
    assert ">1</span>" in text
    assert ">2-5</span>" in text  # at nearly the same time
    assert "policy reloaded: rules added: web" in lines(text)


def test_changes_that_are_too_many_to_list_are_counted() -> None:
    made = told([])
    timeline: Any = {**made.timeline, "changes": [change(number) for number in range(50, 0, -1)]}
    assert "The latest 30; 20 before these" in lines(page(made._replace(timeline=timeline)))


def test_step_of_a_window_gives_no_more_bars_than_can_be_seen() -> None:
    assert step_of(3600) == 60
    assert step_of(86400) == 900
    assert step_of(7 * 86400) == 3600
    for since_s in (1, 59, 10_000, 10**6, 10**8):
        assert since_s / step_of(since_s) <= 171


def test_window_in_which_nothing_is_kept_is_said_to_be_empty() -> None:
    made = told([])
    empty: Any = {**made.timeline, "points": []}
    assert "Nothing is kept of this window" in lines(page(made._replace(timeline=empty)))
