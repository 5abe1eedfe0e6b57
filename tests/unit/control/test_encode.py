"""The joined pieces are the JSON of the value, and no piece is long."""

from __future__ import annotations

import json
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from dynallow.control.encode import BLOCK, Listed, pieces

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=40,
)


@given(st.dictionaries(st.text(), _JSON))
def test_joined_pieces_read_back_as_the_value(value: dict[str, object]) -> None:
    assert json.loads("".join(pieces(value))) == value


def test_long_lists_inside_rules_come_in_blocks() -> None:
    lease = {"address": "198.51.100.7", "name": "a.example.org"}
    value = {"rules": [{"rule": "a", "leases": [lease] * 10_000}]}
    parts = list(pieces(value))
    assert json.loads("".join(parts)) == value
    assert max(map(len, parts)) <= BLOCK * (len(json.dumps(lease)) + 2) + 1


@given(st.lists(st.lists(_JSON, max_size=3), max_size=5))
def test_list_that_is_read_while_it_is_sent_reads_back_as_the_list(parts: list[list[object]]) -> None:
    texts = ([json.dumps(entry) for entry in part] for part in parts)
    value = {"rules": [{"rule": "a", "leases": Listed(texts)}]}
    entries = [entry for part in parts for entry in part]
    assert json.loads("".join(pieces(value))) == {"rules": [{"rule": "a", "leases": entries}]}


def test_list_that_is_read_while_it_is_sent_is_read_no_further_than_it_was_taken() -> None:
    read: list[int] = []

    def parts() -> Iterator[list[str]]:
        for number in range(100):
            read.append(number)
            yield [str(number)] * 1000

    taken = pieces({"rules": [{"rule": "a", "leases": Listed(parts())}]})
    while not read:
        next(taken)
    next(taken)
    assert read == [0, 1]


def test_what_a_list_tells_while_it_is_read_stands_in_what_follows() -> None:
    warnings: list[str] = []

    def parts() -> Iterator[list[str]]:
        yield ["1"]
        warnings.append("no more")

    value = {"rules": [{"leases": Listed(parts())}], "warnings": warnings}
    assert json.loads("".join(pieces(value))) == {"rules": [{"leases": [1]}], "warnings": ["no more"]}
