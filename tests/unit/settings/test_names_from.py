"""Invariant: the short way for plain lines gives exactly the name that the parser gives."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dynallow.policy import parse_name, parse_pattern
from dynallow.policy.names import Name
from dynallow.settings.names_from import _plain_names

label = st.text("ab0-_", min_size=1, max_size=4) | st.sampled_from(["", "a" * 63, "a" * 64, "1", "*", "A"])
lines = st.lists(label, min_size=1, max_size=5).map(".".join)


@settings(max_examples=200, deadline=None)
@given(lines)
@example("192.0.2.1")
@example("a.1")
@example("1.a")
@example("a.example.")
@example(".".join(["a" * 63] * 3 + ["b" * 61]))
@example(".".join(["a" * 63] * 3 + ["b" * 62]))
def test_plain_line_gives_the_name_that_the_parser_gives(text: str) -> None:
    others: list[bytes] = []

    def take(_number: int, line: bytes) -> None:
        others.append(line)

    names: list[Name] = list(_plain_names([text.encode() + b"\n"], take))
    assert len(names) + len(others) == 1
    if names:
        assert names == [parse_name(text)]
        assert parse_pattern(text).labels == parse_pattern(text.lower()).labels
        assert parse_pattern(text).literal
        assert not parse_pattern(text).below
