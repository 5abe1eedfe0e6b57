"""The checkpoint's text: what is written reads as the same, and nothing else reads at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.checkpoint.lines import (
    SIZE_MAX,
    Claim,
    Header,
    Lineage,
    Told,
    read_claim,
    read_lineage,
    read_name_line,
    read_told,
    seal,
    unseal,
    write_claim,
    write_lineage,
    write_name,
    write_told,
)
from dynallow.policy.names import parse_name

NAME, OTHER = parse_name("deb.example.org"), parse_name(r"o\032dd\000.example.org")
HEADER = Header("boot", 12.5)
CLAIM = Claim("web", NAME, bytes([192, 0, 2, 1]), 77.125)
LINEAGE = Lineage("web", OTHER, NAME, 99.0, 3)
TOLD = Told(OTHER, 28, 5.5, b"\0\0message")


def test_seal_and_unseal_give_everything_back() -> None:
    lines = [write_name(OTHER), write_claim(CLAIM), write_lineage(LINEAGE), write_told(TOLD)]
    header, found = unseal(seal(HEADER, lines))
    assert header == HEADER
    assert [read_name_line(line) for line in found["name"]] == [OTHER]
    assert [read_claim(line) for line in found["claim"]] == [CLAIM]
    assert [read_lineage(line) for line in found["derived"]] == [LINEAGE]
    assert [read_told(line) for line in found["answer"]] == [TOLD]


def test_times_are_rounded_down() -> None:
    _, found = unseal(seal(HEADER, [write_claim(CLAIM._replace(until=1.0009999))]))
    assert read_claim(found["claim"][0]).until == 1.0


def test_seal_of_more_than_there_is_room_for_leaves_out_what_came_last() -> None:
    line = write_told(TOLD._replace(message=bytes(1 << 20)))
    data = seal(HEADER, [write_claim(CLAIM), *[line] * 9])
    assert len(data) <= SIZE_MAX
    _, found = unseal(data)
    assert len(found["claim"]) == 1
    assert len(found["answer"]) == 3


@given(st.binary(max_size=300))
def test_unseal_any_bytes_raises(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        unseal(data)


@given(st.data())
def test_unseal_torn_or_altered_raises(data: st.DataObject) -> None:
    whole = seal(HEADER, [write_claim(CLAIM), write_told(TOLD)])
    place = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match=r".*"):
        unseal(whole[:place])
    altered = bytearray(whole)
    altered[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=r".*"):
        unseal(bytes(altered))


@pytest.mark.parametrize("reader", [read_name_line, read_claim, read_lineage, read_told])
@pytest.mark.parametrize(
    "line",
    [
        "",
        " ",
        "web zz c0000201 5",
        "web 00 c00002 5",
        f"web {NAME.hex()} c0000201 -5",
        f"web {NAME.hex()} c0000201 5.5",
        f"web {NAME.hex()} c0000201 \u0665",
        f"web {NAME.hex()} c0000201 {'9' * 5000}",
        f"web {NAME[:-1].hex()} c0000201 5",
        f"web {NAME.upper().hex()} c0000201 5",
        f"web {NAME.hex()}00 c0000201 5",
        "web c00c c0000201 5",
        f"web {NAME.hex()} {NAME.hex()} 5 x",
        f"{NAME.hex()} 70000000000000000000 5 00",
        f"{(b'?' + b'a' * 63).hex() * 5}00 1 5 00",
    ],
)
def test_line_that_is_not_one_raises(reader: Callable[[str], object], line: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        reader(line)
