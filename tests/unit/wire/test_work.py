"""Compression bombs: the work is linear in the message, counted in steps and not by a clock."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from dynallow.errors import WireError
from dynallow.wire.response import parse_response
from tests.unit.wire.messages import DEB, ONE, A, asked, header, pointer, rr

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


@pytest.mark.parametrize(
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
def test_response_that_is_a_bomb_costs_work_in_proportion(packet: bytes) -> None:
    steps = lines_run(lambda: parse_response(packet, id=7, name=DEB, qtype=A))
    assert steps < LINES_PER_BYTE * len(packet) + 1000


def test_response_sixteen_pointers_in_a_row_are_followed_and_one_more_is_not() -> None:
    def owners(pointers: int) -> list[bytes]:
        packet = bomb(pointer_chain(100), [START + 12 + 2 * (pointers - 2)])
        return [record.owner for record in parse_response(packet, id=7, name=DEB, qtype=A).answer]

    assert owners(16) == [DEB, DEB]
    with pytest.raises(WireError):
        owners(17)
