"""Both sides of these tests live in one process, so that its loop's time may stand still with the machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.loop import steady


@pytest.fixture(scope="package", autouse=True)
def steady_loops() -> Iterator[None]:
    with steady():
        yield
