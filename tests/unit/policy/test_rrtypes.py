"""Record types by name and number."""

from __future__ import annotations

import pytest

from dynallow.policy.rrtypes import is_data_type, parse_type, type_text


@pytest.mark.parametrize(
    ("text", "number"), [("A", 1), ("aaaa", 28), ("HTTPS", 65), ("TYPE123", 123), ("type1", 1), ("*", 255)]
)
def test_parse_type_name_or_number_is_read(text: str, number: int) -> None:
    assert parse_type(text) == number


@pytest.mark.parametrize("text", ["", "AAAAA", "TYPE", "TYPE65536", "TYPE-1", "1"])
def test_parse_type_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a record type"):
        parse_type(text)


def test_type_text_reads_back_for_every_number() -> None:
    assert all(parse_type(type_text(number)) == number for number in range(65536))
    assert type_text(123) == "TYPE123"


def test_is_data_type_meta_types_are_none() -> None:
    assert not any(is_data_type(number) for number in (0, 41, 128, 249, 250, 251, 252, 255, 65535))
    assert all(is_data_type(number) for number in (1, 10, 16, 28, 65, 257))
