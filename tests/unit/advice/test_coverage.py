"""When one rule does all that another does; patterns are compared with what they match, name by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.advice.coverage import destination_covers, may_meet, pattern_covers, rule_covers
from dynallow.policy import parse_name, parse_pattern
from tests.unit.advice.recordings import loaded

label = st.sampled_from(["a", "b", "ab", "*", "a*", "*b"])
text = st.tuples(st.sampled_from(["", ".", "*."]), st.lists(label, min_size=1, max_size=2)).map(
    lambda parts: parts[0] + ".".join([*parts[1], "x"])
)
NAMES = [
    parse_name(".".join([*front, "x"]))
    for front in [
        [],
        *[[one] for one in ("a", "b", "ab", "aab", "c")],
        *[[one, two] for one in ("a", "b", "ab", "c") for two in ("a", "b", "ab", "axb", "c")],
        *[["c", one, two] for one in ("a", "b", "c") for two in ("a", "b", "ab", "c")],
        ["c", "c", "a", "ab"],
    ]
]
BASE = 'names = ["a.example", "*.b.example"]\nports = ["tcp/443"]\nusers = [7]\ntypes = ["A"]\n'


@given(text, text)
def test_pattern_that_covers_another_matches_all_of_its_names(wide: str, narrow: str) -> None:
    one, other = parse_pattern(wide), parse_pattern(narrow)
    matched = [name for name in NAMES if other.matches(name)]
    if pattern_covers(one, other):
        assert all(one.matches(name) for name in matched)
    if any(one.matches(name) for name in matched):
        assert may_meet(one, other)


@given(text)
def test_pattern_covers_itself_and_what_is_below_a_dot(wide: str) -> None:
    pattern = parse_pattern(wide)
    assert pattern_covers(pattern, pattern)
    assert pattern_covers(parse_pattern(".x"), pattern)


@pytest.mark.parametrize(
    ("wide", "covers"),
    [
        (BASE, True),
        (BASE.replace('["a.example", "*.b.example"]', '[".example.org", "a.example", ".b.example"]'), True),
        (BASE.replace("tcp/443", "tcp/400-500"), True),
        (BASE.replace("users = [7]\n", ""), True),
        (BASE.replace("[7]", "[7, 8]"), True),
        (BASE + "expires = 2031-01-01\n", True),
        (BASE.replace('"a.example"', '"c.example"'), False),
        (BASE.replace("tcp/443", "udp/443"), False),
        (BASE.replace("[7]", "[8]"), False),
        (BASE.replace('["A"]', '["AAAA"]'), False),
        (BASE + "expires = 2029-01-01\n", False),
        (BASE + 'except = ["x.b.example"]\n', False),
        (BASE + 'except = ["x.c.example"]\n', True),
    ],
)
def test_rule_covers_another_only_with_every_part(tmp_path: Path, wide: str, covers: bool) -> None:
    narrow = BASE + "expires = 2030-01-01\n"
    text = f'[[rule]]\nname = "wide"\n{wide}[[rule]]\nname = "narrow"\n{narrow}'
    one, other = loaded(tmp_path, text).settings.rules
    assert rule_covers(one, other) is covers


def test_rule_with_a_private_prefix_is_covered_only_by_one_that_holds_it(tmp_path: Path) -> None:
    text = "".join(
        f'[[rule]]\nname = "r{number}"\n{BASE}private = {nets}\n'
        for number, nets in enumerate(('["10.0.0.0/8"]', '["10.1.0.0/16"]', '["fc00::/7"]'))
    )
    big, small, six = loaded(tmp_path, text).settings.rules
    assert rule_covers(big, small)
    assert not rule_covers(small, big)
    assert not rule_covers(six, small)


def test_destination_covers_what_lies_in_its_prefixes_and_ports(tmp_path: Path) -> None:
    text = "".join(
        f'[[destination]]\nname = "d{number}"\naddresses = {addresses}\nports = {ports}\n'
        for number, (addresses, ports) in enumerate(
            (
                ('["192.0.2.0/24"]', '["udp/1-200"]'),
                ('["192.0.2.9"]', '["udp/123"]'),
                ('["192.0.3.9"]', '["udp/123"]'),
            )
        )
    )
    net, host, other = loaded(tmp_path, text).settings.destinations
    assert destination_covers(net, host)
    assert not destination_covers(host, net)
    assert not destination_covers(net, other)
