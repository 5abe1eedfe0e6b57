"""The fuzzer's short run, and proof that it reaches what it is meant to test."""

from __future__ import annotations

import random

import pytest

from dynallow.resolver.denials import Denials
from tests.fuzz.fuzz_denials import DisagreementError, Tally, check, question, road, rules, run


def test_questions_denied_again_get_what_the_road_says() -> None:
    tally = run(6000, seed=3)
    assert tally.again > 500
    assert tally.asked > 50


@pytest.mark.slow
def test_questions_denied_again_at_length_get_what_the_road_says() -> None:
    run(150000, seed=4)


def test_check_other_reply_is_a_disagreement() -> None:
    class Wrong(Denials):
        def _by_kin(self, question: bytes) -> bytes | None:
            reply = super()._by_kin(question)
            return reply and reply[:-1] + bytes([reply[-1] ^ 1])

    rng = random.Random(1)
    policy = rules(rng)
    walked, given = road(policy, False), road(policy, False)
    given.denials = Wrong()

    def ask() -> None:
        for _ in range(1000):
            check(question(rng), walked, given, Tally())

    with pytest.raises(DisagreementError):
        ask()
