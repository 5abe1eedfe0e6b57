"""The fuzzer's short run, and proof that it reaches what it is meant to test."""

from __future__ import annotations

import pytest

from tests.fuzz.fuzz_wire import DisagreementError, Tally, check, compare, corpus, run


def test_corpus_unharmed_is_accepted_and_compared() -> None:
    tally = Tally()
    for packet in corpus():
        check(packet, tally)
    # Two questions, twelve responses of which two hold HTTPS, one bare header with nothing to compare.
    assert tally == Tally(cases=15, accepted=13, compared=10, questions=2)


def test_compare_other_addresses_is_a_disagreement() -> None:
    with pytest.raises(DisagreementError):
        compare(corpus()[2], {b"\0\0\0\0"}, 60)


def test_mutated_messages_agree_with_dnspython() -> None:
    tally = run(4000, seed=2)
    assert tally.accepted > 200
    assert tally.compared > 100
    assert tally.questions > 50


@pytest.mark.slow
def test_mutated_messages_at_length_agree_with_dnspython() -> None:
    run(60000, seed=3)
