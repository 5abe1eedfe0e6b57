"""The joined pieces are the JSON of the value, and no piece is long."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from dynallow.control.encode import BLOCK, Encoded, pieces

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


@given(st.lists(_JSON, max_size=3).map(lambda some: some * BLOCK))
def test_encoded_list_reads_back_as_the_list(entries: list[object]) -> None:
    value = {"rules": [{"rule": "a", "leases": Encoded(iter(entries))}]}
    assert json.loads("".join(pieces(value))) == {"rules": [{"rule": "a", "leases": entries}]}


def test_encoded_list_is_made_in_blocks_while_it_is_read() -> None:
    entries = iter([{"address": "198.51.100.7"}] * (BLOCK * 3))
    assert [piece.count("address") for piece in Encoded(entries).pieces] == [BLOCK] * 3 + [0]
