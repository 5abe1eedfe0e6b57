"""Compression bombs: the work is linear in the message, and no slice of it is long.

Counted in steps, not by a clock.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from dynallow.errors import WireError
from dynallow.wire.question import QuestionError, parse_question
from dynallow.wire.response import parse_in_slices, parse_response
from tests.unit.wire.messages import DEB, EDGE, ONE, A, asked, header, pointer, rr

START = 12 + len(asked())
# Lines of Python a byte of message may cost. An honest message takes about 1; the worst has in every
# record a pointer to another name of 120 labels.
LINES_PER_BYTE = 40


def lines_run(work: Callable[[], object]) -> int:
    """How many lines of Python `work` executes; it may raise WireError."""
    count = 0

    def trace(_frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except WireError:
        pass
    finally:
        sys.settrace(before)
    return count


def pointer_chain(size: int) -> bytes:
    """Opaque data in which each pointer leads to the one before, down to the question's name."""
    first = START + 12
    targets = [12, *range(first, first + size - 2, 2)]
    return b"".join(struct.pack(">H", 0xC000 | target) for target in targets)


def ladder(size: int) -> bytes:
    """Opaque data of one-byte labels: at every second byte another name begins."""
    names = b"\x01a" * 120 + b"\0"
    return names * (size // len(names))


def bomb(data: bytes, owners: list[int]) -> bytes:
    records = [rr(b"\xc0\x0c", 65280, data), *(rr(pointer(at), A, ONE) for at in owners)]
    return header(an=len(records)) + asked() + b"".join(records)


CHAIN_SIZE = 16000


BOMBS = pytest.mark.parametrize(
    "packet",
    [
        bomb(pointer_chain(CHAIN_SIZE), [START + 12 + CHAIN_SIZE - 2] * 3000),
        bomb(pointer_chain(CHAIN_SIZE), [START + 12 + CHAIN_SIZE - 2 - 2 * step for step in range(3000)]),
        bomb(pointer_chain(CHAIN_SIZE), [START + 12 + 2 * (step % 14) for step in range(3000)]),
        bomb(ladder(CHAIN_SIZE), [START + 12 + 241 * (step % 60) + 2 * (step // 60) for step in range(3000)]),
        bomb(b"\x01" * CHAIN_SIZE, [START + 12 + step for step in range(3000)]),
        header(an=65535) + asked() + b"\xc0\x0c" * 30000,
        header(an=65535, ns=65535, ar=65535) + asked(),
    ],
    ids=["chain-end", "chain-each", "chain-16", "ladder-each", "no-end", "pointers", "counts"],
)
# At about 0.03 µs a line, half a millisecond.
LINES_PER_SLICE = 16000


@BOMBS
def test_response_that_is_a_bomb_costs_work_in_proportion(packet: bytes) -> None:
    steps = lines_run(lambda: parse_response(packet, id=7, name=DEB, qtype=A))
    assert steps < LINES_PER_BYTE * len(packet) + 1000


def heavy(count: int, record: bytes, *, section: str = "an") -> bytes:
    return header(**{section: count}) + asked() + record * count


@BOMBS
def test_slice_of_a_bomb_is_short(packet: bytes) -> None:
    assert longest_slice(packet) < LINES_PER_SLICE


@pytest.mark.parametrize(
    "packet",
    [
        heavy(4000, rr(pointer(12), A, ONE)),
        heavy(4000, rr(pointer(12), A, ONE), section="ar"),
        heavy(1900, rr(b"\0", 6, b"\0\0" + bytes(20)), section="ns"),
        heavy(250, rr(b"\1a" * 120 + b"\0", 65280, b"")),
        heavy(60, rr(pointer(12), 16, b"\1a" * 500)),
        heavy(
            400,
            rr(pointer(12), 65, b"\0\1\0" + b"".join(struct.pack(">HH", key, 0) for key in range(10, 42))),
        ),
        heavy(1, rr(pointer(12), 16, bytes(60000))),
        heavy(1, rr(pointer(12), 65, b"\0\1\0\0\1\xea\x60" + b"\1h" * 30000)),
        heavy(1, rr(b"\1a" * 30000, A, ONE)),
        heavy(1, rr(pointer(12), 65, b"\0\1" + b"\1a" * 30000)),
        heavy(1, rr(b"\0", 41, bytes(60000)), section="ar"),
    ],
    ids=[
        "addresses",
        "additional",
        "soas",
        "owners",
        "texts",
        "services",
        "one-text",
        "one-service",
        "one-owner",
        "one-target",
        "options",
    ],
)
def test_slice_of_a_heavy_message_is_short(packet: bytes) -> None:
    assert len(packet) < 65536
    assert longest_slice(packet) < LINES_PER_SLICE


def longest_slice(packet: bytes) -> int:
    """The most lines that one slice of reading `packet` runs."""
    slices = parse_in_slices(packet, id=7, name=DEB, qtype=A)
    longest, ended = 0, False

    def step() -> None:
        nonlocal ended
        ended = True  # also when it raises
        ended = next(slices) is not None

    while not ended:
        longest = max(longest, lines_run(step))
    return longest


def test_slices_of_4000_addresses_are_many_and_of_an_ordinary_answer_one() -> None:
    def count(packet: bytes) -> int:
        return len(list(parse_in_slices(packet, id=7, name=DEB, qtype=A)))

    assert count(heavy(4000, rr(pointer(12), A, ONE))) > 10
    assert count(heavy(13, rr(pointer(12), A, ONE))) == 1
    assert count(header(ns=13, ar=14) + asked() + rr(pointer(12), 2, DEB) * 13 + rr(EDGE, A, ONE) * 14) <= 3


def test_response_sixteen_pointers_in_a_row_are_followed_and_one_more_is_not() -> None:
    def owners(pointers: int) -> list[bytes]:
        packet = bomb(pointer_chain(100), [START + 12 + 2 * (pointers - 2)])
        return [record[0] for record in parse_response(packet, id=7, name=DEB, qtype=A).answer]

    assert owners(16) == [DEB, DEB]
    with pytest.raises(WireError):
        owners(17)


@pytest.mark.parametrize(
    "packet",
    [
        header(flags=0x0100, ar=5000) + asked() + rr(pointer(12), A, ONE) * 4000,
        header(flags=0x0100, ar=1) + asked() + rr(b"\0", 41, bytes(60000)),
        header(flags=0x0100) + b"\1a" * 30000,
    ],
    ids=["additional", "options", "labels"],
)
def test_question_that_is_a_bomb_is_refused_at_once(packet: bytes) -> None:
    def parse() -> None:
        with pytest.raises(QuestionError):
            parse_question(packet)

    assert lines_run(parse) < 3000
