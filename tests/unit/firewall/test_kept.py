"""The kept ruleset where the disk does not take it; the rest is in tests/netns/test_boot.py."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from dynallow.firewall import kept
from dynallow.firewall.build import build_ruleset
from dynallow.firewall.kept import Kept
from dynallow.settings.model import Settings


def test_ruleset_that_could_not_be_kept_is_kept_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a reload: the agent looks every half minute."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    ruleset = build_ruleset(Settings(), [], 0)
    real, full = os.fsync, [True]

    def fsync(descriptor: int) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)

    async def scenario() -> None:
        keeper = Kept()
        await keeper.keep(ruleset)
        await keeper.again()
        assert keeper.why_not is not None
        assert "No space left" in keeper.why_not
        assert kept.read(tmp_path / kept.FILE) is None
        full[0] = False
        await keeper.again()
        assert keeper.why_not is None
        assert kept.read(tmp_path / kept.FILE) is not None

    asyncio.run(scenario())
