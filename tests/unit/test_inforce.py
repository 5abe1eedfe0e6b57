"""What is brought into force waits for no by-stander, and is in force whatever becomes of these."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from dynallow.inforce import InForce
from dynallow.pending.starting import resume
from dynallow.pending.switch import in_mode
from dynallow.resolver.attendant import Attendant
from dynallow.sight import sight


async def for_ever() -> None:
    await asyncio.Event().wait()


async def broken() -> None:
    raise RuntimeError("the history is beyond repair")


def brought(main: Path, monkeypatch: pytest.MonkeyPatch, settle: Callable[[], Awaitable[None]]) -> list[str]:
    """The modes that came into force, where looking back is what `settle` does."""
    main.write_text("")
    applied: list[str] = []

    async def work() -> None:
        held = InForce(resume(main, {}), Attendant())
        monkeypatch.setattr(held.sight, "settle", lambda patient: settle())
        monkeypatch.setattr(held, "_apply", lambda _, settings, __: applied.append(settings.mode))
        async with asyncio.timeout(30):
            await held.bring(held.loaded, in_mode(held.settings, "enforce"))
        await held.tasks.stop()

    asyncio.run(work())
    return applied


def test_bring_while_the_history_hangs_is_in_force_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sight, "_BEFORE_CHANGE_S", 0.01)
    assert brought(tmp_path / "dynallow.toml", monkeypatch, for_ever) == ["enforce"]


def test_bring_where_the_history_fails_is_in_force_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert brought(tmp_path / "dynallow.toml", monkeypatch, broken) == ["enforce"]
