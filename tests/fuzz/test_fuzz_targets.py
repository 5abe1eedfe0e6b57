"""The targets of the coverage-guided fuzzer on mutated seeds, and proof that each can fail.

`guided.py` runs the same targets for as long as one likes.
"""

from __future__ import annotations

import random

import pytest

from dynallow.resolver.road import Road
from dynallow.wire.chain import Chain
from dynallow.wire.render import render_denial
from dynallow.wire.response import Response
from tests.fuzz import targets
from tests.fuzz.fuzz_wire import mutate
from tests.fuzz.oracle import BrokenError


@pytest.mark.parametrize("target", sorted(targets.TARGETS))
def test_seed_unharmed_holds_the_invariant(target: str) -> None:
    for data in targets.seeds(target):
        targets.TARGETS[target](data)


@pytest.mark.parametrize("target", sorted(targets.TARGETS))
def test_mutated_seeds_hold_the_invariant(target: str) -> None:
    _run(target, 1500, seed=4)


@pytest.mark.slow
@pytest.mark.parametrize("target", sorted(targets.TARGETS))
def test_mutated_seeds_at_length_hold_the_invariant(target: str) -> None:
    _run(target, 100_000, seed=5)


def _run(target: str, count: int, seed: int) -> None:
    rng, seeds = random.Random(seed), [data for data in targets.seeds(target) if data]
    for number in range(count):
        data = mutate(rng.choice(seeds), seeds, rng)
        try:
            targets.TARGETS[target](data)
        except Exception as error:
            raise BrokenError(f"{target} seed {seed} case {number}: {data.hex()}: {error!r}") from error


@pytest.mark.parametrize(
    "found",
    [
        # A TSIG record in the answer section, between a chain and its address.
        "108100040000c00c000500010000012c00110363646e076578616d706c65036e657400c02d000500"
        "01000000c8000704656c6765c02dc04a00faff010000003c00043ffffdfec04a000100010007003c0004c008fe02",
    ],
    ids=["TSIG in the answer"],
)
def test_answer_that_the_fuzzer_found_holds_the_invariant(found: str) -> None:
    targets.answer(bytes.fromhex(found))


_INSIDE = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x0a\0\0\1"  # A 10.0.0.1


def test_answer_target_finds_a_guard_that_lets_everything_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    targets.answer(_answer_of_one(_INSIDE))
    monkeypatch.setattr("dynallow.resolver.answer.is_ordinary", lambda address: True)
    with pytest.raises(BrokenError, match=r"10\.0\.0\.1 granted"):
        targets.answer(_answer_of_one(_INSIDE))


def test_answer_target_finds_an_address_off_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(response: Response, name: bytes, qtype: int) -> Chain:
        """Takes every record of the type, whoever owns it."""
        final = tuple(record for record in response.answer if record[1] == qtype)
        return Chain((), final, name, 0)

    monkeypatch.setattr("dynallow.wire.chain.walk", careless)
    with pytest.raises(BrokenError, match="not on the chain"):
        _run("answer", 500, seed=4)


def test_question_target_finds_a_denial_with_another_question(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(section: bytes, flags: int, rcode: int, soa: bytes, opt: bytes) -> bytes:
        return render_denial(section[:1] + b"x" + section[2:], flags, rcode, soa, opt)

    monkeypatch.setattr("dynallow.resolver.local.render_denial", careless)
    with pytest.raises(BrokenError, match="question of"):
        _run("question", 100, seed=4)


def test_question_target_finds_a_cut_reply_given_over_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(road: Road, question: bytes, now: float) -> bytes | None:
        return road.hot.find([question], now)[0]

    monkeypatch.setattr(targets, "again", careless)
    with pytest.raises(BrokenError, match="over the other transport"):
        _run("question", 500, seed=4)


def test_control_target_finds_an_unknown_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynallow.control.request._refuse_unknown", lambda words, known: None)
    with pytest.raises(BrokenError, match="passed"):
        targets.control(b'{"rules": "web"}')


def _answer_of_one(record: bytes) -> bytes:
    return b"\0\x81\x80\1\0\0" + record
