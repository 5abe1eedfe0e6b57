"""Settings and the ruleset they render, compared with the files in tests/golden."""

from __future__ import annotations

import pytest

from tests.golden.cases import HERE, NAMES, golden, rendered


@pytest.mark.parametrize("name", NAMES)
def test_render_table_settings_give_their_golden_ruleset(name: str) -> None:
    assert rendered(name) == golden(name), "meant? python -m tests.golden.regenerate, and read the diff"


def test_golden_every_ruleset_has_its_settings() -> None:
    assert sorted(path.stem for path in HERE.glob("*.nft")) == list(NAMES)
    assert len(NAMES) > 5
