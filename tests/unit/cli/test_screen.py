"""What a terminal is taken for, and text made to fit it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.cli.screen import Screen, bar, draws, fitting, shortened, sparkline, wrapped

DRAWS, PLAIN = Screen(80, 24, True), Screen(80, 24, False)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"LANG": "en_US.UTF-8"}, True),
        ({"LANG": "C.UTF-8"}, True),
        ({"LANG": "de_DE.utf8", "LC_CTYPE": ""}, True),
        ({"LANG": "C"}, False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False),  # Python's word, not the user's
        ({"LANG": "en_US.UTF-8", "LC_CTYPE": "C.UTF-8"}, True),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C"}, False),
        ({"LANG": "C", "LC_CTYPE": "en_US.UTF-8"}, True),
        ({"LANG": "en_US.ISO-8859-1"}, False),
        ({}, False),
    ],
)
def test_terminal_draws_more_than_ascii_where_its_user_said_so(
    environment: dict[str, str], expected: bool
) -> None:
    assert draws(environment, "utf-8") is expected
    assert not draws(environment, "ascii")


@pytest.mark.parametrize(
    ("share", "drawn", "plain"),
    [
        (1.0, "██████████", "##########"),
        (0.5, "█████", "#####"),
        (0.26, "██▋", "###"),
        (0.0, "▏", "#"),
        (9, "█" * 10, "#" * 10),
    ],
)
def test_bar_is_the_share_of_its_cells_and_never_nothing(share: float, drawn: str, plain: str) -> None:
    assert bar(share, 10, DRAWS) == drawn
    assert bar(share, 10, PLAIN) == plain


def test_sparkline_shows_what_is_not_0_and_joins_steps_where_cells_are_few() -> None:
    assert sparkline([0, 1, 100, 50], 4, DRAWS) == "▁▂█▅"
    assert sparkline([0, 1, 100, 50], 4, PLAIN) == "_.#="
    assert sparkline([0, 0, 0, 8, 0, 4], 3, DRAWS) == "▁█▅"
    assert sparkline([5, 0, 0, 8], 3, DRAWS) == "▅█"
    assert sparkline([], 3, DRAWS) == ""


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=200), st.integers(1, 100))
def test_sparkline_is_never_wider_than_its_cells(counts: list[int], cells: int) -> None:
    assert 1 <= len(sparkline(counts, cells, DRAWS)) <= cells


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126)), st.integers(1, 30), st.booleans())
def test_shortened_text_fits_and_keeps_both_ends(text: str, width: int, unicode: bool) -> None:
    short = shortened(text, width, Screen(80, 24, unicode))
    assert len(short) <= width
    assert (short == text) is (len(text) <= width)
    assert short[:1] == text[:1]


def test_wrapped_text_is_one_line_for_a_pipe_and_fits_a_terminal() -> None:
    text = "label       " + "word " * 40 + "x" * 200
    assert wrapped(text, Screen(), 12) == [text]
    lines = wrapped(text, Screen(40), 12)
    assert max(map(len, lines)) <= 40
    assert all(line.startswith(" " * 12) for line in lines[1:])
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_fitting_text_is_the_longest_that_fits() -> None:
    texts = ["the whole text", "the text", "text"]
    assert [fitting(texts, Screen(width)) for width in (14, 13, 4, 1)] == [*texts, "text"]
    assert fitting(texts, Screen()) == texts[0]
